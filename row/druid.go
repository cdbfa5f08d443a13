package row

// DruidDimension is one entry of a Druid dimensionsSpec.
type DruidDimension struct {
	Type string `json:"type"`
	Name string `json:"name"`
	// MultiValueHandling keeps the order of an array's values.
	MultiValueHandling string `json:"multiValueHandling,omitempty"`
}

// DruidMetric is one entry of a Druid metricsSpec.
type DruidMetric struct {
	Type      string `json:"type"`
	Name      string `json:"name"`
	FieldName string `json:"fieldName"`
}

// DruidDimensions returns the dimensions of columns, in their order. A boolean is a long there: 1 is true.
func DruidDimensions(columns []Column) []DruidDimension {
	var dims []DruidDimension
	for _, c := range columns {
		if c.Role != Dimension {
			continue
		}
		d := DruidDimension{Type: "string", Name: c.Name}
		switch c.Type {
		case Long, Boolean:
			d.Type = "long"
		case StringArray:
			d.MultiValueHandling = "ARRAY"
		default:
		}
		dims = append(dims, d)
	}
	return dims
}

// DruidMetrics returns the measures of columns, which Druid sums.
func DruidMetrics(columns []Column) []DruidMetric {
	var metrics []DruidMetric
	for _, c := range columns {
		if c.Role == Metric {
			metrics = append(metrics, DruidMetric{Type: "longSum", Name: c.Name, FieldName: c.Name})
		}
	}
	return metrics
}
