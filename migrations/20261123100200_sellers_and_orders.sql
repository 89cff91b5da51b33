-- Sellers who connected their Amazon account, their orders without anything about the buyer, and review requests.

create table sellers (
    id uuid primary key,
    selling_partner_id text not null check (selling_partner_id <> ''),
    region text not null check (region in ('na', 'eu', 'fe')),
    marketplace_ids text[] not null check (cardinality(marketplace_ids) > 0),
    state text not null default 'active' check (state in ('active', 'needs_reauthorisation', 'disconnected')),
    state_reason text,
    refresh_token bytea not null,
    refresh_token_key text not null,
    connected_at timestamptz not null,
    unique (selling_partner_id, region)
);

comment on table sellers is 'Amazon accounts that connected: one row per selling partner and region, as authorisations are.';
comment on column sellers.id is 'Our id; the only one that payloads and logs carry.';
comment on column sellers.selling_partner_id is 'Amazon''s id of the account.';
comment on column sellers.region is 'na, eu or fe: which endpoint answers for it.';
comment on column sellers.marketplace_ids is 'Amazon marketplaces that are synced.';
comment on column sellers.state is 'active; needs_reauthorisation when Amazon refuses the grant; disconnected by the seller.';
comment on column sellers.state_reason is 'Why it is not active.';
comment on column sellers.refresh_token is 'Login with Amazon refresh token, AES-256-GCM (nonce, ciphertext, tag), bound to this row''s id.';
comment on column sellers.refresh_token_key is 'Id of the key in the key ring that encrypted it.';
comment on column sellers.connected_at is 'When it connected, or authorised again.';

create table orders (
    seller_id uuid not null references sellers (id) on delete cascade,
    order_id text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    marketplace_id text not null,
    created_at timestamptz not null,
    last_updated_at timestamptz not null,
    fulfillment_status text not null,
    fulfilled_by text,
    earliest_delivery_at timestamptz,
    latest_delivery_at timestamptz,
    fetched_at timestamptz not null,
    primary key (seller_id, order_id)
);

comment on table orders is 'Orders as Amazon tells them, without buyer, recipient, proceeds or gift texts: those are never asked for, and dropped when they come.';
comment on column orders.seller_id is 'Whose order.';
comment on column orders.order_id is 'Amazon''s order id, as 123-1234567-1234567.';
comment on column orders.origin is 'Where the row comes from.';
comment on column orders.marketplace_id is 'Amazon marketplace it was placed on.';
comment on column orders.created_at is 'When the buyer placed it, UTC.';
comment on column orders.last_updated_at is 'When Amazon last changed it, UTC; an older page never overwrites a newer one.';
comment on column orders.fulfillment_status is 'Amazon''s status, as SHIPPED.';
comment on column orders.fulfilled_by is 'MERCHANT or AMAZON.';
comment on column orders.earliest_delivery_at is 'Start of the promised delivery window, UTC.';
comment on column orders.latest_delivery_at is 'End of the promised delivery window, UTC.';
comment on column orders.fetched_at is 'When the page with it was fetched.';

create index orders_delivery on orders (seller_id, latest_delivery_at) where latest_delivery_at is not null;

create table order_items (
    seller_id uuid not null,
    order_id text not null,
    order_item_id text not null,
    asin text,
    seller_sku text,
    quantity_ordered integer not null,
    primary key (seller_id, order_id, order_item_id),
    foreign key (seller_id, order_id) references orders (seller_id, order_id) on delete cascade
);

comment on table order_items is 'What was ordered: product and quantity, nothing else.';
comment on column order_items.seller_id is 'Whose order.';
comment on column order_items.order_id is 'The order.';
comment on column order_items.order_item_id is 'Amazon''s id of the line.';
comment on column order_items.asin is 'Amazon''s product id.';
comment on column order_items.seller_sku is 'The seller''s product id.';
comment on column order_items.quantity_ordered is 'How many.';

create table sync_cursors (
    seller_id uuid not null references sellers (id) on delete cascade,
    data_set text not null,
    synced_until timestamptz not null,
    window_until timestamptz,
    page_token text,
    page_token_at timestamptz,
    version bigint not null default 1,
    moved_at timestamptz not null,
    primary key (seller_id, data_set),
    constraint token_belongs_to_a_window check ((page_token is null) = (page_token_at is null))
);

comment on table sync_cursors is 'How far each data set of a seller is synced. Moves in the transaction that stores the page.';
comment on column sync_cursors.seller_id is 'Whose data.';
comment on column sync_cursors.data_set is 'Which, as orders.';
comment on column sync_cursors.synced_until is 'Everything changed before it is stored.';
comment on column sync_cursors.window_until is 'End of the window whose pages are being fetched; null between windows.';
comment on column sync_cursors.page_token is 'Amazon''s token of the next page in that window.';
comment on column sync_cursors.page_token_at is 'When Amazon gave the token; it dies after 24 hours.';
comment on column sync_cursors.version is 'Grows with each move; a run that lost its lease cannot move it.';
comment on column sync_cursors.moved_at is 'When it last moved.';

create table review_requests (
    seller_id uuid not null,
    order_id text not null,
    state text not null check (state in ('sending', 'sent', 'sent_probably', 'not_offered', 'not_available', 'window_closed', 'refused', 'gone')),
    reason text not null,
    request_id text,
    checks integer not null default 0 check (checks >= 0),
    claimed_by uuid,
    attempted_at timestamptz,
    decided_at timestamptz not null,
    next_check_at timestamptz,
    primary key (seller_id, order_id),
    foreign key (seller_id, order_id) references orders (seller_id, order_id) on delete cascade,
    constraint sending_says_when check (state <> 'sending' or attempted_at is not null)
);

comment on table review_requests is 'The outcome of each order''s review request. One row an order: it is sent once, ever.';
comment on column review_requests.seller_id is 'Whose order.';
comment on column review_requests.order_id is 'The order.';
comment on column review_requests.state is 'sending is written before the request leaves; the others are outcomes. not_offered is looked at again until the window closes.';
comment on column review_requests.reason is 'Why it is so, in words for ops.';
comment on column review_requests.request_id is 'Amazon''s request id of the deciding answer, for its support.';
comment on column review_requests.checks is 'How often Amazon was asked whether the action is offered.';
comment on column review_requests.claimed_by is 'Job that is sending or sent it.';
comment on column review_requests.attempted_at is 'When the request was about to leave; after it an answer may be missing.';
comment on column review_requests.decided_at is 'When the state was written.';
comment on column review_requests.next_check_at is 'When a not_offered order is asked about again; null for outcomes that stay.';

create index review_requests_open on review_requests (seller_id, next_check_at) where next_check_at is not null or state = 'sending';
