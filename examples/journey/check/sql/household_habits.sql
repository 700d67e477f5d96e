with seen as (
    select key, as_of, purchase.*
    from ask left join purchase on household_id = key and t <= as_of
    where entity = 'household' and event = 'purchase'
)
select
    key, as_of,
    count(distinct basket_id) filter (t >= start_30d(as_of)) as baskets_30d,
    count(distinct basket_id) filter (t >= start_90d(as_of)) as baskets_90d,
    count(distinct store_id) filter (t >= start_90d(as_of)) as stores_90d,
    coalesce(sum(sales_value) filter (t >= start_90d(as_of)), 0)::decimal(18, 2) as spend_90d,
    sum(quantity) filter (t >= start_90d(as_of))::double / nullif(count(quantity) filter (t >= start_90d(as_of)), 0) as mean_units_90d,
    (list(basket_id order by t, id) filter (basket_id is not null))[1] as first_basket
from seen
group by key, as_of;
