//! Services by their names: records of type SRV (RFC 2782), which the C library can't be asked for.
//!
//! The servers of the system's `resolv.conf` are asked anew each time. Names are taken as they are written, without search domains.

use hickory_resolver::{
    ResolveError, Resolver,
    proto::{ProtoErrorKind, op::ResponseCode},
};

/// A service's place: host and port.
pub type Place = (String, u16);

/// The places of a service, in the order of their hosts and ports; none if the name has no such record.
pub async fn services(name: &str) -> Result<Vec<Place>, String> {
    let wrong = |e: ResolveError| format!("{name}: {e}");
    let resolver = Resolver::builder_tokio().map_err(wrong)?.build();
    let found = match resolver.srv_lookup(format!("{}.", name.trim_end_matches('.'))).await {
        Ok(found) => found,
        Err(error) => {
            return match negative(&error) {
                Some(ResponseCode::NoError) => Ok(Vec::new()),
                Some(ResponseCode::NXDomain) => Err(format!("{name}: no such name")),
                Some(code) => Err(format!("{name}: the name server answers: {code}")),
                None => Err(wrong(error)),
            };
        }
    };
    // a target of "." says that the service is decidedly not there
    let there = found.iter().filter(|record| !record.target().is_root());
    let mut places: Vec<Place> =
        there.map(|record| (record.target().to_ascii().trim_end_matches('.').to_owned(), record.port())).collect();
    places.sort();
    places.dedup();
    Ok(places)
}

/// The code of an answer without records. A server that fails or refuses is told apart from one that knows of none.
fn negative(error: &ResolveError) -> Option<ResponseCode> {
    match error.proto()?.kind() {
        ProtoErrorKind::NoRecordsFound { response_code, .. } => Some(*response_code),
        _ => None,
    }
}
