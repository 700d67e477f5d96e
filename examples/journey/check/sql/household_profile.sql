-- One row per household in the file, so the last value is the value.
select key, as_of, age, income, home_ownership, marital_status, household_size, household_comp, kids_count
from ask left join demographics on household_id = key and t <= as_of
where entity = 'household' and event = 'demographics';
