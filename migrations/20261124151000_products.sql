-- Where sellers sell, their listings with issues, their stock at Amazon, and sales ranks; and how far the walks over them have come.

create table walks (
    seller_id uuid not null references sellers (id) on delete cascade,
    data_set text not null check (data_set in ('inventory', 'listings')),
    marketplace_id text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    job_id uuid not null,
    began_at timestamptz,
    place timestamptz,
    synced_at timestamptz,
    whole_at timestamptz,
    version bigint not null default 1,
    primary key (seller_id, data_set, marketplace_id),
    constraint only_a_walk_under_way_has_a_place check (place is null or began_at is not null)
);

comment on table walks is 'How far the walks over a seller''s listings and stock have come, one row a marketplace. A row moves in the transaction that stores what was seen.';
comment on column walks.seller_id is 'Whose data.';
comment on column walks.data_set is 'What is walked over: inventory or listings.';
comment on column walks.marketplace_id is 'Amazon marketplace.';
comment on column walks.origin is 'Where the data come from.';
comment on column walks.job_id is 'Job that began or ended the latest walk.';
comment on column walks.began_at is 'When the walk under way began, UTC; null between walks.';
comment on column walks.place is 'How far the walk under way has come: creation date of the last listing seen, UTC.';
comment on column walks.synced_at is 'Everything that changed before it is stored: when the last walk that ended had begun, UTC.';
comment on column walks.whole_at is 'What was not there any more then is marked as gone: when the last walk over everything had begun, UTC.';
comment on column walks.version is 'Grows with each move; a run that lost its lease cannot move it.';

create table participations (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    country_code text,
    currency_code text,
    language_code text,
    domain_name text,
    is_participating boolean not null,
    has_suspended_listings boolean not null,
    fetched_at timestamptz not null,
    primary key (seller_id, marketplace_id)
);

comment on table participations is 'The marketplaces that a seller could sell in, as Amazon tells them; without the name of the store, which may be a person''s.';
comment on column participations.seller_id is 'Whose.';
comment on column participations.marketplace_id is 'Amazon marketplace.';
comment on column participations.origin is 'Where the row comes from.';
comment on column participations.country_code is 'ISO 3166 code of its country.';
comment on column participations.currency_code is 'ISO 4217 code of its usual currency.';
comment on column participations.language_code is 'Code of its usual language, as en_GB.';
comment on column participations.domain_name is 'Its address, as www.amazon.co.uk.';
comment on column participations.is_participating is 'Whether the seller sells there; false also where Amazon no longer tells it.';
comment on column participations.has_suspended_listings is 'Whether the seller''s listings there are suspended.';
comment on column participations.fetched_at is 'When Amazon was asked, UTC; an answer to an earlier question never overwrites a later one.';

create table inventory (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    seller_sku text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    asin text,
    fnsku text,
    condition text,
    total bigint,
    fulfillable bigint,
    inbound_working bigint,
    inbound_shipped bigint,
    inbound_receiving bigint,
    reserved bigint,
    reserved_for_orders bigint,
    reserved_for_transfer bigint,
    reserved_in_processing bigint,
    researching bigint,
    unfulfillable bigint,
    last_updated_at timestamptz,
    fetched_at timestamptz not null,
    gone_at timestamptz,
    primary key (seller_id, marketplace_id, seller_sku)
);

comment on table inventory is 'What Amazon has in store for a seller, by marketplace and SKU, in units. Between two whole walks (a day) changes of inbound units may be missing: Amazon does not tell them.';
comment on column inventory.seller_id is 'Whose stock.';
comment on column inventory.marketplace_id is 'Amazon marketplace.';
comment on column inventory.seller_sku is 'The seller''s product id.';
comment on column inventory.origin is 'Where the row comes from.';
comment on column inventory.asin is 'Amazon''s product id.';
comment on column inventory.fnsku is 'The id on its label in Amazon''s warehouses.';
comment on column inventory.condition is 'As NewItem.';
comment on column inventory.total is 'Units in all: in warehouses and on their way there.';
comment on column inventory.fulfillable is 'Units that can be sold now.';
comment on column inventory.inbound_working is 'Units of shipments that the seller prepares.';
comment on column inventory.inbound_shipped is 'Units on their way.';
comment on column inventory.inbound_receiving is 'Units of shipments that are being received.';
comment on column inventory.reserved is 'Units that are reserved, in all.';
comment on column inventory.reserved_for_orders is 'Units reserved for orders.';
comment on column inventory.reserved_for_transfer is 'Units that move between warehouses.';
comment on column inventory.reserved_in_processing is 'Units that a warehouse has set aside.';
comment on column inventory.researching is 'Units that Amazon looks for.';
comment on column inventory.unfulfillable is 'Units that cannot be sold: damaged, defective, expired.';
comment on column inventory.last_updated_at is 'When Amazon last changed a quantity, UTC.';
comment on column inventory.fetched_at is 'When Amazon was asked, UTC; an answer to an earlier question never overwrites a later one.';
comment on column inventory.gone_at is 'Since when Amazon no longer tells of the SKU, UTC: found by a walk over everything. The figures stay as they were told last; null again when it comes back.';

create table listings (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    seller_sku text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    asin text,
    fnsku text,
    item_name text,
    product_type text,
    condition text,
    is_buyable boolean not null,
    is_discoverable boolean not null,
    created_at timestamptz,
    last_updated_at timestamptz,
    fetched_at timestamptz not null,
    gone_at timestamptz,
    ranks_asked_at timestamptz,
    primary key (seller_id, marketplace_id, seller_sku)
);

comment on table listings is 'A seller''s listings by marketplace and SKU, without prices and offers: those are never asked for, and dropped when they come.';
comment on column listings.seller_id is 'Whose listing.';
comment on column listings.marketplace_id is 'Amazon marketplace.';
comment on column listings.seller_sku is 'The seller''s product id.';
comment on column listings.origin is 'Where the row comes from.';
comment on column listings.asin is 'Amazon''s product id.';
comment on column listings.fnsku is 'The id on its label in Amazon''s warehouses.';
comment on column listings.item_name is 'The product''s title.';
comment on column listings.product_type is 'Amazon''s product type, as LUGGAGE.';
comment on column listings.condition is 'As new_new.';
comment on column listings.is_buyable is 'Whether buyers can buy it.';
comment on column listings.is_discoverable is 'Whether buyers can see it.';
comment on column listings.created_at is 'When the listing was created, UTC.';
comment on column listings.last_updated_at is 'When it last changed, UTC.';
comment on column listings.fetched_at is 'When Amazon was asked, UTC; an answer to an earlier question never overwrites a later one.';
comment on column listings.gone_at is 'Since when Amazon no longer tells of the SKU, UTC; null again when it comes back.';
comment on column listings.ranks_asked_at is 'When Amazon was last asked for the sales ranks of its product, UTC.';

create index listings_ranks on listings (seller_id, marketplace_id, ranks_asked_at nulls first) where gone_at is null and asin is not null;

create table listing_issues (
    seller_id uuid not null,
    marketplace_id text not null,
    seller_sku text not null,
    position integer not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    code text not null,
    severity text not null,
    message text not null,
    categories text[] not null,
    attribute_names text[] not null,
    enforcements text[] not null,
    exemption text,
    fetched_at timestamptz not null,
    primary key (seller_id, marketplace_id, seller_sku, position),
    foreign key (seller_id, marketplace_id, seller_sku) references listings (seller_id, marketplace_id, seller_sku) on delete cascade
);

comment on table listing_issues is 'What Amazon finds wrong with a listing now. Replaced with the listing; none for a listing that is gone.';
comment on column listing_issues.seller_id is 'Whose listing.';
comment on column listing_issues.marketplace_id is 'Amazon marketplace.';
comment on column listing_issues.seller_sku is 'The listing.';
comment on column listing_issues.position is 'Its place in Amazon''s answer, from 0: codes repeat.';
comment on column listing_issues.origin is 'Where the row comes from.';
comment on column listing_issues.code is 'Amazon''s code of the issue.';
comment on column listing_issues.severity is 'ERROR, WARNING or INFO.';
comment on column listing_issues.message is 'Amazon''s words for the seller.';
comment on column listing_issues.categories is 'As INVALID_ATTRIBUTE.';
comment on column listing_issues.attribute_names is 'Attributes of the listing that it is about.';
comment on column listing_issues.enforcements is 'What Amazon does because of it, as LISTING_SUPPRESSED.';
comment on column listing_issues.exemption is 'Whether that is put off: EXEMPT, EXEMPT_UNTIL_EXPIRY_DATE or NOT_EXEMPT.';
comment on column listing_issues.fetched_at is 'When Amazon was asked, UTC.';

create table sales_ranks (
    seller_id uuid not null references sellers (id) on delete cascade,
    marketplace_id text not null,
    asin text not null,
    day date not null,
    kind text not null check (kind in ('classification', 'display_group')),
    category text not null,
    origin text not null default 'amazon' check (origin = 'amazon'),
    title text,
    rank bigint not null,
    fetched_at timestamptz not null,
    primary key (seller_id, marketplace_id, asin, day, kind, category)
);

comment on table sales_ranks is 'Sales ranks of the products that a seller lists: a time series, one row a day, product and category.';
comment on column sales_ranks.seller_id is 'For whom it was asked.';
comment on column sales_ranks.marketplace_id is 'Amazon marketplace.';
comment on column sales_ranks.asin is 'Amazon''s product id.';
comment on column sales_ranks.day is 'The day in the marketplace''s time zone.';
comment on column sales_ranks.kind is 'classification for a fine category, display_group for a department.';
comment on column sales_ranks.category is 'Amazon''s id of the classification, or name of the display group.';
comment on column sales_ranks.origin is 'Where the row comes from.';
comment on column sales_ranks.title is 'The category''s name.';
comment on column sales_ranks.rank is 'The rank; 1 sells best.';
comment on column sales_ranks.fetched_at is 'When Amazon was asked, UTC; of a day, the latest answer is kept.';
