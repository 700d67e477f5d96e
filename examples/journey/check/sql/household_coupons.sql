with seen as (
    select key, as_of, coupon_redemption.*
    from ask left join coupon_redemption on household_id = key and t <= as_of
    where entity = 'household' and event = 'coupon_redemption'
)
select
    key, as_of,
    count(*) filter (t >= start_7d(as_of)) as redemptions_7d,
    count(*) filter (t >= start_30d(as_of)) as redemptions_30d,
    count(household_id) as redemptions_lifetime,
    count(distinct campaign_id) filter (t >= start_30d(as_of)) as campaigns_30d,
    count(distinct campaign_id) as campaigns_lifetime,
    (list(campaign_id order by t desc, id desc) filter (campaign_id is not null))[1] as last_campaign,
    (list(coupon_upc order by t desc, id desc) filter (coupon_upc is not null))[1:3] as recent_coupons,
    max(redemption_date) as last_date
from seen
group by key, as_of;
