-- The pairs of applications that pay most for crossing zones: an estimate with the prices of druid.prices.
SELECT src_app, dst_app, src_region AS region, SUM(bytes) AS bytes, SUM(cost) AS estimated_cost
FROM {priced}
WHERE charge = 'cross-az'
GROUP BY 1, 2, 3 ORDER BY 5 DESC LIMIT {limit}
