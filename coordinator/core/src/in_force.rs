//! What a coordinator does where the bucket of what is in force holds something else than it would publish.
//!
//! Every coordinator publishes; none of them is appointed. That goes well because each compares, before it writes, what
//! the bucket of wishes holds now with what it has looked at: one that is behind writes nothing, and its turn comes
//! with the edit that it has not seen yet.

use bus_schemas::{
    Blob, Message,
    config::{ConfigKey, InForce, NodeConfig, PoolConfig, edit_of},
    policy::FarmConfig,
};

/// What a coordinator knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// The key.
    pub key: ConfigKey,
    /// Newest revision of the bucket of wishes that it has looked at, 0 when that bucket holds none.
    pub seen: u64,
    /// Revision of the newest edit, or deletion, that it has applied in the life of that bucket.
    pub applied: u64,
    /// What is in force, in its one spelling; nothing when the key was deleted or nothing good was ever written.
    pub in_force: Option<Blob>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// Nothing: it is as it should be.
    Agreed,
    /// Nothing: the bucket of wishes holds an edit that was not looked at yet.
    Behind,
    /// Write ours.
    Write,
    /// Take it away.
    Remove,
    /// Follow it: another coordinator accepted an edit that this one refused, or it is all that is left of a bucket of
    /// wishes that is gone.
    Adopt,
}

/// Whether both mean the same to this version: another one may write keys out that are not known here.
fn same(key: &ConfigKey, ours: &[u8], published: &[u8]) -> bool {
    fn means<M: Message + PartialEq>(ours: &[u8], published: &[u8]) -> bool {
        matches!((M::decode(ours), M::decode(published)), (Ok(ours), Ok(published)) if ours == published)
    }
    match key {
        ConfigKey::Farm => means::<InForce<FarmConfig>>(ours, published),
        ConfigKey::Pool(_) => means::<InForce<PoolConfig>>(ours, published),
        ConfigKey::Node(_) => means::<InForce<NodeConfig>>(ours, published),
    }
}

/// Decides. `wished` is the newest revision that the bucket of wishes holds for the key at this moment, 0 for none;
/// `published` are the bytes that the bucket of what is in force holds.
pub fn reconcile(ours: &Ours, wished: u64, published: Option<&[u8]>) -> Reconciled {
    if wished != ours.seen {
        return Reconciled::Behind;
    }
    let Some(published) = published else {
        return if ours.in_force.is_some() { Reconciled::Write } else { Reconciled::Agreed };
    };
    if ours.in_force.as_ref().is_some_and(|in_force| same(&ours.key, &in_force.0, published)) {
        return Reconciled::Agreed;
    }
    // What has no revision was written by no coordinator.
    let edit = edit_of(published);
    let accepted_elsewhere = |edit: u64| edit > ours.applied && edit <= ours.seen;
    let nothing_known = ours.in_force.is_none() && ours.applied == 0;
    match edit {
        Some(edit) if nothing_known || accepted_elsewhere(edit) => Reconciled::Adopt,
        _ if ours.in_force.is_some() => Reconciled::Write,
        _ => Reconciled::Remove,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_force(revision: u64, reason: &str) -> Vec<u8> {
        let config = FarmConfig { halted: true, reason: reason.to_owned() };
        InForce { revision, config }.canonical().unwrap()
    }

    fn ours(seen: u64, applied: u64, in_force: Option<Vec<u8>>) -> Ours {
        Ours { key: ConfigKey::Farm, seen, applied, in_force: in_force.map(Blob) }
    }

    #[test]
    fn what_is_to_be_done_follows_from_both_buckets() {
        let (a7, b8, c9, z50) = (in_force(7, "a"), in_force(8, "b"), in_force(9, "c"), in_force(50, "z"));
        let a1 = in_force(1, "a");
        let of_newer = br#"{"revision":8,"config":{"halted":true,"reason":"b","warp":9}}"#.to_vec();
        let (a, b, z) = (Some(a1.clone()), Some(b8.clone()), Some(z50.clone()));
        let rubbish = Some(b"oops".to_vec());
        for (why, ours, wished, published, wanted) in [
            ("first edit", ours(1, 1, a.clone()), 1, None, Reconciled::Write),
            ("next edit", ours(8, 8, b.clone()), 8, Some(a7.clone()), Reconciled::Write),
            ("already there", ours(8, 8, b.clone()), 8, b.clone(), Reconciled::Agreed),
            (
                "there, as a newer version writes it",
                ours(8, 8, b.clone()),
                8,
                Some(of_newer),
                Reconciled::Agreed,
            ),
            ("a newer edit is on its way", ours(8, 8, b.clone()), 9, Some(a7.clone()), Reconciled::Behind),
            ("wishes are made anew", ours(8, 8, b.clone()), 1, Some(a7), Reconciled::Behind),
            ("refused here, accepted there", ours(9, 8, b.clone()), 9, Some(c9), Reconciled::Adopt),
            ("refused everywhere", ours(9, 8, b.clone()), 9, b.clone(), Reconciled::Agreed),
            ("deleted", ours(9, 9, None), 9, b.clone(), Reconciled::Remove),
            ("deleted, then refused", ours(10, 9, None), 10, b.clone(), Reconciled::Remove),
            ("deleted and gone", ours(9, 9, None), 9, None, Reconciled::Agreed),
            ("of a life that is over", ours(1, 1, a.clone()), 1, z.clone(), Reconciled::Write),
            (
                "of that life, by chance with our number",
                ours(1, 1, a),
                1,
                Some(in_force(1, "z")),
                Reconciled::Write,
            ),
            ("no wish is left", ours(0, 0, None), 0, z.clone(), Reconciled::Adopt),
            ("only a refused wish is there", ours(1, 0, None), 1, z.clone(), Reconciled::Adopt),
            ("no wish is left but we know", ours(0, 0, z), 0, None, Reconciled::Write),
            ("rubbish over ours", ours(8, 8, b), 8, rubbish.clone(), Reconciled::Write),
            ("rubbish under a key of nobody", ours(0, 0, None), 0, rubbish, Reconciled::Remove),
        ] {
            assert_eq!(reconcile(&ours, wished, published.as_deref()), wanted, "{why}");
        }
    }
}
