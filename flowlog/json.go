package flowlog

import "unicode/utf8"

// AppendJSON appends r as one JSON object: every field of its layout in the layout's order, AWS's names with underscores.
// An absent field is null; integer fields are numbers with the digits of the line (leading zeros go: JSON has none);
// everything else is a string with the text of the line. Bytes that are not UTF-8 become U+FFFD.
func AppendJSON(dst []byte, r *Record) []byte {
	if r.Format.Len() == 0 {
		return append(dst, "{}"...)
	}
	for i := range r.Format.columns {
		dst = append(dst, r.Format.keys[i]...)
		text := r.column(i)
		switch k := r.Format.columns[i].kind; {
		case text == nil:
			dst = append(dst, "null"...)
		case k == kindInt || k == kindTime:
			for len(text) > 1 && text[0] == '0' {
				text = text[1:]
			}
			dst = append(dst, text...)
		default:
			dst = appendString(dst, text)
		}
	}
	return append(dst, '}')
}

func appendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r) // RuneError for a bad byte
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}
