-- Pairs of applications by bytes, every byte counted once.
SELECT src_app, dst_app, SUM(bytes) AS bytes, SUM(packets) AS packets, SUM(flows) AS flows
FROM {raw} WHERE __time >= {from} AND __time < {to} AND counted = 1 AND action = 'ACCEPT'
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {limit}
