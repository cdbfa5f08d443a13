package encode

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// plain says that a byte stands for itself in a JSON string. Bytes of multi-byte characters are not plain: they are checked.
func plain(c byte) bool { return c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' }

// cleanPrefix returns how many leading bytes of s are plain.
func cleanPrefix[T string | []byte](s T) int {
	i := 0
	// Eight bytes at a time: a byte is not plain when its top bit is set or one of three subtractions borrows into it.
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		const ones, tops = 0x0101010101010101, 0x8080808080808080
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		if (w|(w-ones*0x20)|(quote-ones)|(slash-ones))&tops != 0 {
			break // perhaps only because of a borrow: the bytes are looked at one by one
		}
	}
	for ; i < len(s); i++ {
		if !plain(s[i]) {
			break
		}
	}
	return i
}

// appendEscaped appends s as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD, as encoding/json does it.
func appendEscaped(dst []byte, s string) []byte {
	n := cleanPrefix(s)
	dst = append(dst, s[:n]...)
	for n < len(s) {
		c := s[n]
		if plain(c) {
			run := cleanPrefix(s[n:])
			dst = append(dst, s[n:n+run]...)
			n += run
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[n:])
			dst = utf8.AppendRune(dst, r) // RuneError is U+FFFD
			n += size
			continue
		}
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		n++
	}
	return dst
}
