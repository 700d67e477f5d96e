-- The events as replayed, from the files alone. Variables: dir, last (how many transactions), shift (ms).
-- t is the feature time in epoch ms: every event is dated before it arrives, so that is its event time.
create table purchase as
select
    household_id, product_id, basket_id, store_id, quantity,
    cast(round(sales_value, 2) as decimal(18, 2)) as sales_value,
    cast(round(retail_disc, 2) as decimal(18, 2)) as retail_disc,
    round(retail_disc, 2) > 0 or round(coupon_disc, 2) > 0 or round(coupon_match_disc, 2) > 0 as reduced,
    department,
    epoch_ms(transaction_timestamp) + getvariable('shift') as t,
    'transactions-' || (line.file_row_number + 1) as id
from read_parquet(getvariable('dir') || '/transactions.parquet', file_row_number = true) as line
left join read_parquet(getvariable('dir') || '/products.parquet') as product using (product_id)
qualify row_number() over (order by transaction_timestamp desc, line.file_row_number desc) <= getvariable('last');

-- A redemption counts from the end of its date.
create table coupon_redemption as
select
    household_id, coupon_upc, campaign_id,
    epoch_ms(redemption_date) as redemption_date,
    epoch_ms(redemption_date) + 24 * 60 * 60 * 1000 + getvariable('shift') as t,
    'redemptions-' || (file_row_number + 1) as id
from read_parquet(getvariable('dir') || '/coupon_redemptions.parquet', file_row_number = true)
where epoch_ms(redemption_date) + 24 * 60 * 60 * 1000 + getvariable('shift') >= (select min(t) from purchase);

-- Demographics hold from the start of the span on.
create table demographics as
select
    household_id, age, income, home_ownership, marital_status, household_size, household_comp, kids_count,
    (select min(t) from purchase) as t
from read_parquet(getvariable('dir') || '/demographics.parquet');

-- The start of each sliding window: (t - size) down to a multiple of the hop, in ms.
create macro start_5m(t) as (t - 300000) // 5000 * 5000;               -- hop 5 s
create macro start_1h(t) as (t - 3600000) // 60000 * 60000;            -- hop 1 min
create macro start_7d(t) as (t - 604800000) // 7200000 * 7200000;      -- hop 2 h
create macro start_30d(t) as (t - 2592000000) // 43200000 * 43200000;  -- hop 12 h
create macro start_90d(t) as (t - 7776000000) // 86400000 * 86400000;  -- hop 1 d
