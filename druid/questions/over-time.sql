-- Bytes of the busiest pairs by hour.
SELECT TIME_FLOOR(__time, 'PT1H') AS flow_hour, src_app, dst_app, SUM(bytes) AS bytes
FROM {raw} WHERE __time >= {from} AND __time < {to} AND counted = 1 AND action = 'ACCEPT'
GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC LIMIT {limit}
