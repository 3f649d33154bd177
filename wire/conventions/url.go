package conventions

import "strings"

// RedactURL cuts what a URL may hide secrets in: user information and the
// fragment always, the query unless it is allowed. Of what is no proper URL
// rather too much is cut than too little.
func RedactURL(url string, allowQuery bool) string {
	url, _, _ = strings.Cut(url, "#")
	path, _, _ := strings.Cut(url, "?")
	redacted := cutUserInfo(path)
	switch {
	case !allowQuery:
		return redacted
	case len(redacted) == len(path):
		return url
	}
	return redacted + url[len(path):]
}

// slashes are what parsers take for the slashes before an authority, or skip
// between them (WHATWG URL, section 4.4).
const slashes = "/\\ \t\n\r"

// cutUserInfo cuts user information (RFC 3986, section 3.2.1), be there a
// scheme or not. What is left has none, not even a second one.
func cutUserInfo(s string) string {
	if strings.IndexByte(s, '@') < 0 {
		return s
	}
	prefix := "" // up to the authority
	for {
		if prefix == "" {
			n, ok := authority(s)
			if !ok {
				return s
			}
			prefix, s = s[:n], s[n:]
		} else {
			s = strings.TrimLeft(s, slashes)
		}
		host, _, _ := strings.Cut(s, "/")
		at := strings.LastIndexByte(host, '@')
		if at < 0 {
			return prefix + s
		}
		s = s[at+1:]
	}
}

// authority finds where the authority begins, false where there is only a path.
func authority(s string) (int, bool) {
	start := 0
	if i := strings.IndexAny(s, ":/\\@"); i >= 0 && s[i] == ':' {
		start = i + 1
	}
	n := len(s[start:]) - len(strings.TrimLeft(s[start:], slashes))
	switch {
	case n == 0:
		return 0, true // what looks like a scheme is a host or a user
	case n == 1 && start == 0 && s[0] == '/':
		return 0, false
	}
	return start + n, true
}
