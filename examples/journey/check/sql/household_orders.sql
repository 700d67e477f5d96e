-- Every household's orders in whole days before the midnight of the run. Variable: midnight (epoch ms).
with ordered as (
    select *, t >= getvariable('midnight') - 604800000 as recent
    from purchase
    where t < getvariable('midnight') and t >= getvariable('midnight') - 2592000000
)
select
    household_id,
    coalesce(sum(sales_value) filter (recent), 0)::decimal(18, 2) as amount_7d,
    coalesce(sum(sales_value), 0)::decimal(18, 2) as amount_30d,
    count(distinct basket_id) filter (recent) as orders_7d,
    count(distinct basket_id) as orders_30d,
from (select distinct household_id from purchase union select household_id from demographics) as known
left join ordered using (household_id)
group by household_id
order by household_id;
