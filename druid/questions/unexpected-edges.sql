-- Edges that nothing declares (segmentation.file), by client and server: which ones, over which port, how much was let through and how much rejected.
SELECT segmentation, CASE WHEN client = 'dst' THEN dst_app ELSE src_app END AS client_app, CASE WHEN client = 'dst' THEN src_app ELSE dst_app END AS server_app,
  CASE WHEN client = 'src' THEN dst_port WHEN client = 'dst' THEN src_port END AS port, protocol,
  SUM(CASE WHEN action = 'ACCEPT' THEN bytes ELSE 0 END) AS bytes, SUM(CASE WHEN action = 'ACCEPT' THEN flows ELSE 0 END) AS flows,
  SUM(CASE WHEN action = 'REJECT' THEN flows ELSE 0 END) AS rejected_flows, MIN(__time) AS first_seen, MAX(__time) AS last_seen
FROM {raw} WHERE __time >= {from} AND __time < {to} AND counted = 1 AND segmentation IN ('unexpected', 'expired')
GROUP BY 1, 2, 3, 4, 5 ORDER BY 7 DESC, 8 DESC LIMIT {limit}
