package row

// Schema is a JSON Schema document (draft 2020-12); it marshals with encoding/json.
type Schema struct {
	Dialect     string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type"`
	Enum        []string           `json:"enum,omitempty"`
	Items       *Schema            `json:"items,omitempty"`
	Minimum     *int64             `json:"minimum,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  *bool              `json:"additionalProperties,omitempty"`
}

// JSONSchema describes one row that holds columns. What is in every row whatever sets are chosen is required; the rest may be
// absent, never null. So the schema of the whole Catalogue, docs/reference/rows.schema.json, holds for every choice.
func JSONSchema(title string, columns []Column) *Schema {
	closed := false
	s := &Schema{
		Dialect: "https://json-schema.org/draft/2020-12/schema",
		Title:   title, Description: describe(columns), Type: "object", Properties: map[string]*Schema{}, Additional: &closed,
	}
	for i := range columns {
		c := &columns[i]
		s.Properties[c.Name] = c.schema()
		if c.Set == Core && !c.Optional {
			s.Required = append(s.Required, c.Name)
		}
	}
	return s
}

func describe(columns []Column) string {
	for i := range columns {
		if columns[i].Grains&Raw == 0 {
			return "All flow-log records of one minute and of equal dimensions, in sum."
		}
	}
	return "One flow-log record with both of its ends named."
}

func (c *Column) schema() *Schema {
	s := &Schema{Description: c.Doc}
	if c.Unit != "" {
		s.Description += " Unit: " + c.Unit + "."
	}
	switch c.Type {
	case Long:
		s.Type = "integer"
		if c.Role == Metric {
			zero := int64(0)
			s.Minimum = &zero
		}
	case Boolean:
		s.Type = "boolean"
	case StringArray:
		s.Type = "array"
		s.Items = &Schema{Type: "string"}
	default:
		s.Type = "string"
		s.Enum = c.Values
		if c.Values == nil {
			s.MinLength = 1
		}
	}
	return s
}
