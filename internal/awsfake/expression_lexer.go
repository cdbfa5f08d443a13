package awsfake

import (
	"fmt"
	"strings"
)

// tokenKind is what a token of an expression is.
type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenName  // #placeholder
	tokenValue // :placeholder
	tokenNumber
	tokenSymbol
)

type token struct {
	kind tokenKind
	text string
}

func (t token) String() string {
	if t.kind == tokenEnd {
		return "<EOF>"
	}
	return t.text
}

const maxExpression = 4096

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// tokenize cuts an expression into tokens; the last is always tokenEnd.
func tokenize(s string) ([]token, error) {
	if len(s) > maxExpression {
		return nil, fmt.Errorf("Expression size has exceeded the maximum allowed size; expression size: %d", len(s)) //nolint:staticcheck // AWS's words
	}
	var out []token
	for i := 0; i < len(s); {
		start := i
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '#' || c == ':':
			for i++; i < len(s) && isWordByte(s[i]); i++ {
			}
			if i == start+1 {
				return nil, fmt.Errorf("Syntax error; token: %q", s[start:i]) //nolint:staticcheck // AWS's words
			}
			kind := tokenName
			if c == ':' {
				kind = tokenValue
			}
			out = append(out, token{kind, s[start:i]})
		case c >= '0' && c <= '9':
			for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			}
			out = append(out, token{tokenNumber, s[start:i]})
		case isWordByte(c):
			for ; i < len(s) && isWordByte(s[i]); i++ {
			}
			out = append(out, token{tokenWord, s[start:i]})
		case strings.HasPrefix(s[i:], "<>") || strings.HasPrefix(s[i:], "<=") || strings.HasPrefix(s[i:], ">="):
			i += 2
			out = append(out, token{tokenSymbol, s[start:i]})
		case strings.IndexByte("=<>().,[]+-", c) >= 0:
			i++
			out = append(out, token{tokenSymbol, s[start:i]})
		default:
			return nil, fmt.Errorf("Invalid character in expression; character: %q", rune(c)) //nolint:staticcheck // AWS's words
		}
	}
	return append(out, token{}), nil
}
