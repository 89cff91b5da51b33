-- What sellers sold by day, how Amazon judges their accounts, and what buyers thought of them: without a word of a buyer.

create table order_metrics (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    asin text not null,
    day date not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    unit_count bigint not null,
    order_item_count bigint not null,
    order_count bigint not null,
    total_sales numeric,
    currency text,
    fetched_at timestamptz not null,
    primary key (seller_id, marketplace_id, asin, day),
    constraint money_has_a_currency check ((total_sales is null) = (currency is null))
);

comment on table order_metrics is 'What was ordered, by day: of everything, and of each product on the days on which it was ordered.';
comment on column order_metrics.seller_id is 'Whose sales.';
comment on column order_metrics.marketplace_id is 'Amazon marketplace that the orders were placed on.';
comment on column order_metrics.asin is 'Amazon''s product id; empty for all products together.';
comment on column order_metrics.day is 'The day, from midnight to midnight in the marketplace''s own time zone.';
comment on column order_metrics.origin is 'Where the row comes from.';
comment on column order_metrics.unit_count is 'Units ordered.';
comment on column order_metrics.order_item_count is 'Lines of orders.';
comment on column order_metrics.order_count is 'Orders.';
comment on column order_metrics.total_sales is 'What the units were ordered for in all, exact; null where Amazon tells nothing that is a number.';
comment on column order_metrics.currency is 'ISO 4217 code of total_sales.';
comment on column order_metrics.fetched_at is 'When an answer last changed these figures, UTC; an older answer never overwrites a newer one.';

create table order_metrics_asked (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    asin text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    wanted_at timestamptz not null,
    asked_at timestamptz,
    primary key (seller_id, marketplace_id, asin)
);

comment on table order_metrics_asked is 'How fresh the rows of order_metrics are, and which products are to be asked about: those wanted later than asked.';
comment on column order_metrics_asked.seller_id is 'Whose sales.';
comment on column order_metrics_asked.marketplace_id is 'Amazon marketplace that was asked about.';
comment on column order_metrics_asked.asin is 'Amazon''s product id; empty for all products together.';
comment on column order_metrics_asked.origin is 'Where the figures come from.';
comment on column order_metrics_asked.wanted_at is 'When the figures were last found to be needed, UTC: once a day for products that were ordered lately.';
comment on column order_metrics_asked.asked_at is 'When the answer with the figures was fetched, UTC; moves in the transaction that stores them. Null before the first.';

create table account_health (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    day date not null,
    metric text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    status text not null,
    rate double precision,
    target double precision,
    target_condition text,
    counted bigint,
    out_of bigint,
    measured_from timestamptz,
    measured_until timestamptz,
    fetched_at timestamptz not null,
    primary key (seller_id, marketplace_id, day, metric)
);

comment on table account_health is 'How Amazon judged a seller''s account on a day: a row for each metric of its report. The last report of a day counts.';
comment on column account_health.seller_id is 'Whose account.';
comment on column account_health.marketplace_id is 'Amazon marketplace that is judged.';
comment on column account_health.day is 'The day on which the report was asked for, in the marketplace''s own time zone.';
comment on column account_health.metric is 'Which metric, as late_shipment_rate; account_status is the account as a whole.';
comment on column account_health.origin is 'Where the row comes from.';
comment on column account_health.status is 'Amazon''s word: GOOD, BAD or NONE; NORMAL, AT_RISK or DEACTIVATED for the account; GREAT or WARNED for its rating.';
comment on column account_health.rate is 'The rate, 0 to 1; null for metrics that count.';
comment on column account_health.target is 'What the rate, or the count, has to keep to.';
comment on column account_health.target_condition is 'How: LESS_THAN, GREATER_THAN or EQUALS.';
comment on column account_health.counted is 'How often it happened: defects, late shipments, cancellations, violations; for on-time and tracking rates, how often it went well.';
comment on column account_health.out_of is 'Of how many orders, shipments or units.';
comment on column account_health.measured_from is 'Start of the time that was measured, UTC.';
comment on column account_health.measured_until is 'End of the time that was measured, UTC.';
comment on column account_health.fetched_at is 'When the report was read, UTC.';

create table seller_feedback (
    seller_id uuid not null references sellers (id) on delete cascade,
    order_id text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    marketplace_id text not null,
    day date not null,
    rating smallint not null check (rating between 1 and 5),
    fetched_at timestamptz not null,
    primary key (seller_id, order_id)
);

comment on table seller_feedback is 'Neutral and negative feedback about sellers, which is all that Amazon''s report has: without the buyer''s words, the seller''s answer and the buyer''s address.';
comment on column seller_feedback.seller_id is 'Whom it is about.';
comment on column seller_feedback.order_id is 'The order; it may be older than what orders has.';
comment on column seller_feedback.origin is 'Where the row comes from.';
comment on column seller_feedback.marketplace_id is 'Amazon marketplace whose report it was in.';
comment on column seller_feedback.day is 'When it was given, as the report says.';
comment on column seller_feedback.rating is 'Stars, 1 to 5; the report has 1 to 3.';
comment on column seller_feedback.fetched_at is 'When the last report with it was read, UTC. What a whole report no longer has is deleted.';

create index seller_feedback_day on seller_feedback (seller_id, marketplace_id, day);

create table amazon_reports (
    seller_id uuid not null references sellers (id) on delete cascade,
    report_type text not null,
    marketplace_id text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    state text not null check (state in ('asked', 'ready', 'stored', 'no_data', 'failed', 'refused')),
    reason text,
    report_id text not null,
    document_id text,
    data_from timestamptz,
    asked_at timestamptz not null,
    looks integer not null default 0 check (looks >= 0),
    next_look_at timestamptz,
    ended_at timestamptz,
    primary key (seller_id, report_type, marketplace_id),
    constraint ends_say_when check ((state in ('asked', 'ready')) = (ended_at is null)),
    constraint asked_says_when_to_look check (state <> 'asked' or next_look_at is not null),
    constraint ready_says_where check (state <> 'ready' or document_id is not null)
);

comment on table amazon_reports is 'The latest report of each type that was asked for, and how far it is, so that any worker goes on where the last one was.';
comment on column amazon_reports.seller_id is 'Whose report; report ids are unique for a seller only.';
comment on column amazon_reports.report_type is 'Amazon''s name of the type.';
comment on column amazon_reports.marketplace_id is 'Amazon marketplace that it is about; empty for all of the seller''s together.';
comment on column amazon_reports.origin is 'Who makes the report.';
comment on column amazon_reports.state is 'asked; ready to be fetched; stored, no_data or failed when it has ended; refused when Amazon would not make it.';
comment on column amazon_reports.reason is 'Why it failed, in our own words: nothing of Amazon''s text is kept.';
comment on column amazon_reports.report_id is 'Amazon''s id of the report; empty when it was refused.';
comment on column amazon_reports.document_id is 'Amazon''s id of its document, once it is ready. Where the document is, is a secret that is never stored.';
comment on column amazon_reports.data_from is 'Start of the time that it is about, UTC; null for what has none.';
comment on column amazon_reports.asked_at is 'When Amazon was asked for it, UTC.';
comment on column amazon_reports.looks is 'How often Amazon was asked whether it is ready.';
comment on column amazon_reports.next_look_at is 'When Amazon is asked again, UTC.';
comment on column amazon_reports.ended_at is 'When it was stored, or known to come to nothing, UTC.';
