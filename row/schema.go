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

// JSONSchema describes one row that holds columns. Columns that are not optional are required; others may be absent, never
// null.
func JSONSchema(title string, columns []Column) *Schema {
	closed := false
	s := &Schema{
		Dialect: "https://json-schema.org/draft/2020-12/schema",
		Title:   title, Type: "object", Properties: map[string]*Schema{}, Additional: &closed,
	}
	for i := range columns {
		c := &columns[i]
		s.Properties[c.Name] = c.schema()
		if !c.Optional {
			s.Required = append(s.Required, c.Name)
		}
	}
	return s
}

// PublicSchema describes a raw row under any choice of column sets: docs/reference/rows.schema.json. Only what is in every row
// is required.
func PublicSchema() *Schema {
	columns := Catalogue()
	s := JSONSchema("flows_raw", columns)
	s.Description = "One flow-log record with both of its ends named."
	s.Required = nil
	for i := range columns {
		if c := &columns[i]; c.Set == Core && !c.Optional {
			s.Required = append(s.Required, c.Name)
		}
	}
	return s
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
