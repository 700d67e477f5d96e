//! Asks a store on loopback whether it answers queries, in its own protocol and without a driver.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::kind::StoreKind;

const TIMEOUT: Duration = Duration::from_secs(2);

/// `hello` on `admin` as one OP_MSG: length, request id 1, reply to 0, opcode 2013, no flags, section 0, then the BSON
/// document `{hello: 1, $db: "admin"}`.
const HELLO: &[u8] = b"\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\
    \x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";

/// Whether the store answers now.
pub(crate) fn answers(kind: StoreKind, port: u16) -> bool {
    let (question, answer): (&[u8], &[u8]) = match kind {
        StoreKind::Redis => (b"PING\r\n", b"+PONG\r\n"),
        StoreKind::MongoDb => (HELLO, b"isWritablePrimary\0\x01"),
        StoreKind::ClickHouse => {
            (b"GET /?query=SELECT%201 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"\r\n\r\n1\n")
        }
    };
    exchange(port, question, answer).unwrap_or(false)
}

fn exchange(port: u16, question: &[u8], answer: &[u8]) -> io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(question)?;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(false),
            count => seen.extend_from_slice(&buffer[..count]),
        }
        if seen.windows(answer.len()).any(|window| window == answer) {
            return Ok(true);
        }
        if seen.len() > 1 << 20 {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hello_message_states_its_own_length() {
        assert_eq!(HELLO.len(), usize::from(HELLO[0]));
        assert_eq!(HELLO.len() - 21, usize::from(HELLO[21]));
    }
}
