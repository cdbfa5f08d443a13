-- What one application talks to, and what talks to it.
SELECT CASE WHEN src_app = {app} THEN 'to' ELSE 'from' END AS way,
  CASE WHEN src_app = {app} THEN dst_app ELSE src_app END AS app,
  SUM(bytes) AS bytes, SUM(flows) AS flows
FROM {raw} WHERE __time >= {from} AND __time < {to} AND counted = 1 AND action = 'ACCEPT' AND (src_app = {app} OR dst_app = {app})
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {limit}
