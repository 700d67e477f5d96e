with asked as (
    select key, as_of from ask where entity = 'household' and event = 'purchase'
),
seen as (
    select key, as_of, purchase.*
    from asked left join purchase on household_id = key and t <= as_of
),
-- A line starts a session if more than 30 minutes lie between it and the line before.
marked as (
    select *, coalesce(t - lag(t) over (partition by key, as_of order by t, id) > 1800000, true) as starts
    from seen where household_id is not null
),
numbered as (
    select *, sum(starts::int) over (partition by key, as_of order by t, id) as session
    from marked
),
-- The current session is the last one, unless it ended more than 30 minutes ago.
current_session as (
    select key, as_of, count(*) as session_lines, sum(sales_value) as session_spend, count(distinct product_id) as session_products
    from (select *, max(session) over (partition by key, as_of) as newest_session from numbered)
    where session = newest_session
    group by key, as_of
    having as_of - max(t) <= 1800000
),
folded as (
    select
        key, as_of,
        coalesce(sum(sales_value) filter (t >= start_5m(as_of)), 0)::decimal(18, 2) as spend_5m,
        coalesce(sum(sales_value) filter (t >= start_1h(as_of)), 0)::decimal(18, 2) as spend_1h,
        coalesce(sum(sales_value) filter (t >= start_7d(as_of)), 0)::decimal(18, 2) as spend_7d,
        coalesce(sum(sales_value) filter (t >= start_30d(as_of)), 0)::decimal(18, 2) as spend_30d,
        coalesce(sum(sales_value), 0)::decimal(18, 2) as spend_lifetime,
        count(*) filter (t >= start_5m(as_of)) as lines_5m,
        count(*) filter (t >= start_1h(as_of)) as lines_1h,
        count(*) filter (t >= start_7d(as_of)) as lines_7d,
        count(*) filter (t >= start_30d(as_of)) as lines_30d,
        count(household_id) as lines_lifetime,
        coalesce(sum(quantity) filter (t >= start_7d(as_of)), 0)::bigint as units_7d,
        coalesce(sum(quantity) filter (t >= start_30d(as_of)), 0)::bigint as units_30d,
        coalesce(sum(quantity), 0)::bigint as units_lifetime,
        coalesce(sum(retail_disc) filter (t >= start_7d(as_of)), 0)::decimal(18, 2) as discount_7d,
        coalesce(sum(retail_disc) filter (t >= start_30d(as_of)), 0)::decimal(18, 2) as discount_30d,
        sum(sales_value) filter (t >= start_7d(as_of))::double / nullif(count(*) filter (t >= start_7d(as_of)), 0) as mean_line_7d,
        sum(sales_value) filter (t >= start_30d(as_of))::double / nullif(count(*) filter (t >= start_30d(as_of)), 0) as mean_line_30d,
        max(sales_value) filter (t >= start_30d(as_of)) as largest_line_30d,
        max(sales_value) as largest_line_lifetime,
        min(sales_value) filter (t >= start_7d(as_of)) as smallest_line_7d,
        (list(product_id order by t desc, id desc) filter (product_id is not null))[1:5] as recent_products
    from seen
    group by key, as_of
)
select
    folded.*,
    coalesce(session_lines, 0) as session_lines,
    coalesce(session_spend, 0)::decimal(18, 2) as session_spend,
    coalesce(session_products, 0) as session_products
from folded left join current_session using (key, as_of);
