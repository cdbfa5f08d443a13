-- What each pair of applications costs in data on its way, by charge: an estimate with the prices of druid.prices.
SELECT src_app, dst_app, charge, SUM(bytes) AS bytes, SUM(cost) AS estimated_cost
FROM {priced}
GROUP BY 1, 2, 3 ORDER BY 5 DESC LIMIT {limit}
