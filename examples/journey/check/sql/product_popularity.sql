with seen as (
    select key, as_of, purchase.*
    from ask left join purchase on product_id = key and t <= as_of
    where entity = 'product' and event = 'purchase'
)
select
    key, as_of,
    count(*) filter (t >= start_1h(as_of)) as lines_1h,
    count(*) filter (t >= start_7d(as_of)) as lines_7d,
    count(*) filter (t >= start_30d(as_of)) as lines_30d,
    count(product_id) as lines_lifetime,
    coalesce(sum(quantity) filter (t >= start_7d(as_of)), 0)::bigint as units_7d,
    coalesce(sum(quantity) filter (t >= start_30d(as_of)), 0)::bigint as units_30d,
    coalesce(sum(quantity), 0)::bigint as units_lifetime,
    coalesce(sum(sales_value) filter (t >= start_7d(as_of)), 0)::decimal(18, 2) as sales_7d,
    coalesce(sum(sales_value) filter (t >= start_30d(as_of)), 0)::decimal(18, 2) as sales_30d,
    coalesce(sum(sales_value), 0)::decimal(18, 2) as sales_lifetime,
    count(distinct household_id) filter (t >= start_7d(as_of)) as households_7d,
    count(distinct household_id) filter (t >= start_30d(as_of)) as households_30d,
    count(distinct household_id) as households_lifetime,
    (list(household_id order by t desc, id desc) filter (household_id is not null))[1:5] as recent_households
from seen
group by key, as_of;
