package event

import (
	"encoding/json"
	"fmt"
)

// Append appends e as one line with its line feed to b and returns it. V is written as Version when it is 0. The error can
// only be of the encoder; b is then returned as it was. Bytes that are not UTF-8 are replaced.
func Append(b []byte, e *Event) ([]byte, error) {
	out := *e
	if out.V == 0 {
		out.V = Version
	}
	line, err := json.Marshal(&out)
	if err != nil {
		return b, fmt.Errorf("writing identity event: %w", err)
	}
	return append(append(b, line...), '\n'), nil
}
