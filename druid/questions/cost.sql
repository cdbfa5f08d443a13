-- What data on its way costs, by charge (cross-az, cross-region, internet, nat) and region: an estimate with the prices of druid.prices.
SELECT charge, src_region, dst_region, SUM(bytes) AS bytes, SUM(cost) AS estimated_cost
FROM {priced}
GROUP BY 1, 2, 3 ORDER BY 5 DESC LIMIT {limit}
