-- psql "$DATABASE_URL" --set seller="$SELLER" --set ON_ERROR_STOP=1 --file enqueue.sql
begin;
-- … whatever the job follows from, in the same transaction …
select id, created
from enqueue_job(
    'sync_orders',
    jsonb_build_object('seller', :'seller'),
    idempotency_key => 'first-sync/' || :'seller'
);
commit;
