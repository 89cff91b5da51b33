-- Lines of orders come from Amazon, as the orders do.

alter table order_items add column origin text not null default 'amazon' check (origin = 'amazon');
comment on column order_items.origin is 'Where the row comes from.';
