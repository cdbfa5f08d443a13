-- Rejected traffic by pair of applications. Rejected flows are counted where they were rejected, apart from accepted ones.
SELECT src_app, dst_app, dst_port, SUM(flows) AS flows, SUM(packets) AS packets, SUM(bytes) AS bytes
FROM {raw} WHERE __time >= {from} AND __time < {to} AND counted = 1 AND action = 'REJECT'
GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT {limit}
