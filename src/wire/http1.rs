//! HTTP/1.1 requests, as far as a small receiver needs them: one request a connection, bounded, no upgrades.
//!
//! The rules are those of RFC 9112; where it leaves a choice the stricter one is taken, because a request that two
//! parsers read differently is a way in.

use thiserror::Error;

/// Most header lines of a request.
const HEADERS_MAX: usize = 100;

/// A request that came in whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Method, in capitals as sent.
    pub method: String,
    /// Path of the target, still percent-encoded, with its leading slash.
    pub path: String,
    /// Query of the target, still percent-encoded, without the question mark; empty when there is none.
    pub query: String,
    /// Header lines in their order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, with any chunked coding removed.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the first value of the header `name`, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why bytes are not a request that we take.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The bytes break RFC 9112.
    #[error("cannot read the HTTP request: {0}")]
    Malformed(&'static str),
    /// Head and body together are larger than the receiver allows.
    #[error("cannot take an HTTP request of more than {bytes_max} bytes")]
    TooLarge {
        /// The receiver's bound.
        bytes_max: usize,
    },
}

/// Reads one request from the start of `bytes`; `None` when more bytes are needed.
///
/// # Errors
///
/// [`Error::Malformed`] when no more bytes could make it a request, [`Error::TooLarge`] when it has more than
/// `bytes_max` bytes, or says that it will.
pub fn read(bytes: &[u8], bytes_max: usize) -> Result<Option<Request>, Error> {
    let too_large = Error::TooLarge { bytes_max };
    if bytes.len() > bytes_max {
        return Err(too_large);
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end);
    let head = str::from_utf8(head).map_err(|_| Error::Malformed("the head is not UTF-8"))?;
    let body = rest.get(4..).unwrap_or_default();
    let mut request = read_head(head)?;
    let lengths: Vec<&str> = values(&request, "content-length").collect();
    let codings: Vec<&str> = values(&request, "transfer-encoding").collect();
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some(Vec::new()),
        ([length], []) => {
            let length = length.parse().map_err(|_| Error::Malformed("bad content-length"))?;
            if length > bytes_max {
                return Err(too_large);
            }
            body.get(..length).map(<[u8]>::to_vec)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => read_chunks(body, bytes_max)?,
        _ => return Err(Error::Malformed("length of the body is ambiguous")),
    };
    Ok(body.map(|body| {
        request.body = body;
        request
    }))
}

/// Decodes `name=value&name=value`, as in a query or an `application/x-www-form-urlencoded` body.
#[must_use]
pub fn form(encoded: &str) -> Vec<(String, String)> {
    let pairs = encoded.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Removes percent-encoding and turns `+` into a space; what is not UTF-8 becomes U+FFFD.
#[must_use]
pub fn percent_decode(encoded: &str) -> String {
    let mut plain = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => plain.push(b' '),
            b'%' => {
                let value = after.get(..2).and_then(|hex| str::from_utf8(hex).ok());
                let value = value.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                plain.push(value.unwrap_or(b'%'));
                if value.is_some() {
                    rest = after.get(2..).unwrap_or_default();
                }
            }
            other => plain.push(other),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn values<'a>(request: &'a Request, name: &str) -> impl Iterator<Item = &'a str> {
    request.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn read_head(head: &str) -> Result<Request, Error> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::Malformed("bad request line"));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !target.starts_with('/') {
        return Err(Error::Malformed("bad request line"));
    }
    let headers = lines.map(read_header).collect::<Result<Vec<_>, _>>()?;
    if headers.len() > HEADERS_MAX {
        return Err(Error::Malformed("too many header lines"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Vec::new(),
    })
}

fn read_header(line: &str) -> Result<(String, String), Error> {
    let bad = Error::Malformed("bad header line");
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        }
        Some(_) | None => Err(bad),
    }
}

/// Removes the chunked coding; `None` when more bytes are needed. Trailers are not taken.
fn read_chunks(mut bytes: &[u8], bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
    let bad = Error::Malformed("bad chunk");
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let (line, rest) = bytes.split_at(end);
        let line = str::from_utf8(line).map_err(|_| bad_chunk())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad_chunk())?;
        if size > bytes_max {
            return Err(Error::TooLarge { bytes_max });
        }
        let rest = rest.get(2..).unwrap_or_default();
        let (Some(chunk), Some(after)) = (rest.get(..size), rest.get(size..size + 2)) else {
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err(bad);
        }
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
}

fn bad_chunk() -> Error {
    Error::Malformed("bad chunk")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POST: &[u8] =
        b"POST /a%20b/c?x=1&y=%2B HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn a_request_is_read_once_it_is_whole() {
        for end in 0..POST.len() {
            assert!(matches!(read(&POST[..end], 1000), Ok(None)), "{end}");
        }
        let request = read(POST, 1000).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a%20b/c"));
        assert_eq!(form(&request.query), [("x".into(), "1".into()), ("y".into(), "+".into())]);
        assert_eq!((request.header("host"), request.body.as_slice()), (Some("h"), &b"hello"[..]));
    }

    #[test]
    fn a_chunked_body_is_joined() {
        let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=1\r\nde\r\n0\r\n\r\n";
        for end in 0..bytes.len() {
            assert!(matches!(read(&bytes[..end], 1000), Ok(None)), "{end}");
        }
        assert_eq!(read(bytes, 1000).unwrap().unwrap().body, b"abcde");
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length : 1\r\n\r\n",
            "POST / HTTP/1.1\r\n folded: 1\r\n\r\n",
            "POST /a b HTTP/1.1\r\n\r\n",
            "POST http://h/ HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(read(head.as_bytes(), 1000), Err(Error::Malformed(_))), "{head}");
        }
    }

    #[test]
    fn a_request_over_the_bound_is_refused_before_it_has_come() {
        let head = b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n";
        assert_eq!(read(head, 1000), Err(Error::TooLarge { bytes_max: 1000 }));
        let chunk = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        assert_eq!(read(chunk, 1000), Err(Error::TooLarge { bytes_max: 1000 }));
        assert_eq!(read(&[b'x'; 1001], 1000), Err(Error::TooLarge { bytes_max: 1000 }));
    }

    impl std::fmt::Debug for Request {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Request").field("path", &self.path).finish_non_exhaustive()
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..POST.len()) {
            let mixed = [&POST[..cut], &bytes].concat();
            prop_assert!(read(&bytes, 200).is_ok() || read(&bytes, 200).is_err());
            prop_assert!(read(&mixed, 1000).is_ok() || read(&mixed, 1000).is_err());
            prop_assert!(percent_decode(&String::from_utf8_lossy(&bytes)).len() <= 3 * bytes.len());
        }
    }
}
