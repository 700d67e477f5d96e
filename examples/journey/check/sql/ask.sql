-- Which keys are asked for, and as of when: just after each one's own newest event of a type, and at the very end.
-- Needs the table chosen(entity, key); variable: finish (the time of the last event).
create table ask as
with newest as (
    select 'household' as entity, 'purchase' as event, household_id as key, max(t) as t from purchase group by household_id
    union all
    select 'household', 'coupon_redemption', household_id, max(t) from coupon_redemption group by household_id
    union all
    select 'household', 'demographics', household_id, max(t) from demographics group by household_id
    union all
    select 'product', 'purchase', product_id, max(t) from purchase group by product_id
)
select entity, event, key, t + 1 as as_of, true as own_last
from newest join chosen using (entity, key)
union all
select chosen.entity, kind.event, key, getvariable('finish')::bigint, false
from chosen join (select distinct entity, event from newest) as kind using (entity);
