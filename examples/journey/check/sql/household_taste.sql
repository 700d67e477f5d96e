with seen as (
    select key, as_of, purchase.*
    from ask left join purchase on household_id = key and t <= as_of
    where entity = 'household' and event = 'purchase'
)
select
    key, as_of,
    count(distinct product_id) filter (t >= start_7d(as_of)) as products_7d,
    count(distinct product_id) filter (t >= start_30d(as_of)) as products_30d,
    count(distinct product_id) as products_lifetime,
    count(distinct department) filter (t >= start_30d(as_of)) as departments_30d,
    count(distinct department) as departments_lifetime,
    count(department) filter (t >= start_30d(as_of)) as known_lines_30d,
    (list(product_id order by t, id) filter (product_id is not null))[1] as first_product,
    (list(department order by t desc, id desc) filter (department is not null))[1] as last_department,
    (list(reduced order by t desc, id desc) filter (reduced is not null))[1] as last_reduced,
    (list(store_id order by t desc, id desc) filter (t >= start_30d(as_of) and store_id is not null))[1:3] as recent_stores_30d
from seen
group by key, as_of;
