-- Bytes that cross zones and regions, by pair of applications.
SELECT path, src_app, dst_app, src_region, dst_region, SUM(bytes) AS bytes
FROM {raw} WHERE __time >= {from} AND __time < {to} AND counted = 1 AND action = 'ACCEPT' AND path IN ('cross-az', 'cross-region')
GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC LIMIT {limit}
