-- What one application pays for sending, by destination and charge: an estimate with the prices of druid.prices.
SELECT dst_app, charge, SUM(bytes) AS bytes, SUM(cost) AS estimated_cost
FROM {priced}
WHERE src_app = {app}
GROUP BY 1, 2 ORDER BY 4 DESC LIMIT {limit}
