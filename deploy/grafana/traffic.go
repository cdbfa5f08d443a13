package main

// accepted and rejected are the rows of the chosen time and application, each flow once.
const (
	accepted = `FROM "flows_1m" WHERE __time >= MILLIS_TO_TIMESTAMP(${__from}) AND __time < MILLIS_TO_TIMESTAMP(${__to}) AND action = 'ACCEPT' AND ('$app' = '' OR src_app = '$app' OR dst_app = '$app')`
	rejected = `FROM "flows_1m" WHERE __time >= MILLIS_TO_TIMESTAMP(${__from}) AND __time < MILLIS_TO_TIMESTAMP(${__to}) AND action = 'REJECT' AND ('$app' = '' OR src_app = '$app' OR dst_app = '$app')`
)

// traffic answers who talks to whom and what that costs. It asks Druid: metrics have no addresses and few applications.
func traffic() dashboard {
	return dashboard{
		uid: "dredge-traffic", title: "dredge: Traffic", refresh: "1m", since: "now-1h",
		variable: "app", variableLabel: "application (empty: all)",
		groups: []group{
			{"Who talks to whom", []panel{
				{title: "Bytes over time by way", doc: "Counted once each, by the class of way that they took.", shape: "timeseries", wide: 24, high: 8, unit: "bytes", stacked: true, sql: `SELECT TIME_FLOOR(__time, 'PT1M') AS "time", path, SUM(bytes) AS bytes ` + accepted + ` GROUP BY 1, 2 ORDER BY 1`},
				{title: "Pairs of applications", doc: "The pairs with the most bytes.", shape: "table", wide: 12, high: 10, sql: `SELECT src_app, dst_app, SUM(bytes) AS bytes, SUM(flows) AS flows ` + accepted + ` GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 100`},
				{title: "Destinations by port", doc: "What is talked to, and on which port.", shape: "table", wide: 12, high: 10, sql: `SELECT dst_app, service_port, SUM(bytes) AS bytes, SUM(flows) AS flows ` + accepted + ` GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 100`},
			}},
			{"Zones, regions and cost", []panel{
				{title: "Bytes across zones and regions", doc: "By pair of applications; what it costs with your prices: dredge druid query cost.", shape: "table", wide: 12, high: 9, sql: `SELECT path, src_app, dst_app, src_region, dst_region, SUM(bytes) AS bytes ` + accepted + ` AND path IN ('cross-az', 'cross-region') GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC LIMIT 100`},
				{title: "Bytes to the internet and AWS services", doc: "By application and destination.", shape: "table", wide: 12, high: 9, sql: `SELECT path, src_app, dst_app, SUM(bytes) AS bytes ` + accepted + ` AND path IN ('internet', 'aws-service') GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 100`},
				{title: "Estimated cost by way, USD", doc: "With 0.02 USD per GB: 0.01 USD for each way between zones, 0.02 USD between regions. Your own prices: dredge druid query cost.", shape: "bargauge", wide: 24, high: 5, unit: "currencyUSD", sql: `SELECT path, SUM(bytes) / 1e9 * 0.02 AS usd ` + accepted + ` AND path IN ('cross-az', 'cross-region') GROUP BY path`},
			}},
			{"Rejected", []panel{
				{title: "Rejected flows over time", doc: "By the application that rejected them.", shape: "timeseries", wide: 12, high: 8, stacked: true, sql: `SELECT TIME_FLOOR(__time, 'PT1M') AS "time", dst_app, SUM(flows) AS flows ` + rejected + ` GROUP BY 1, 2 ORDER BY 1`},
				{title: "Rejected pairs", doc: "Who was turned away by whom.", shape: "table", wide: 12, high: 8, sql: `SELECT src_app, dst_app, service_port, SUM(flows) AS flows ` + rejected + ` GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 100`},
			}},
		},
	}
}
