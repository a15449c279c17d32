//! Copies that wait, under lock: AES-256-GCM with a key of each copy's own, itself wrapped under a key of the current
//! epoch that lies apart from the database. With the wrapped key a copy is gone for good.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use varco_core::id::ExchangeId;
use varco_core::parcel::{Keeper, LockEntropy, LockFault, Locked};
use zeroize::{Zeroize as _, Zeroizing};

const KEY_LEN: usize = 32;
/// A wrapped key: the epoch, the nonce, the key and its tag.
const WRAPPED_LEN: usize = 2 + NONCE_LEN + KEY_LEN + MAX_TAG_LEN;

/// What the tags are over besides the text, so that neither half opens as anything else.
const COPY_DOMAIN: &[u8] = b"varco/copy/v1\0";
const WRAP_DOMAIN: &[u8] = b"varco/copy-key/v1\0";

/// Holds the keys of all epochs; locks with the newest, opens with whichever locked.
pub struct CopyKeeper {
    /// In ascending order of epochs.
    keys: Vec<(u16, LessSafeKey)>,
}

impl std::fmt::Debug for CopyKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(epoch, _)| epoch)).finish()
    }
}

impl CopyKeeper {
    /// Keys of one epoch each, in ascending order.
    pub fn new(keys: Vec<(u16, Zeroizing<[u8; KEY_LEN]>)>) -> Result<Self, LockFault> {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(epoch, bytes)| Ok((epoch, key(bytes.as_slice())?)))
            .collect::<Result<_, LockFault>>()?;
        if keys.is_empty() { Err(LockFault) } else { Ok(Self { keys }) }
    }
}

impl Keeper for CopyKeeper {
    fn lock(&self, parcel: &ExchangeId, copy: &[u8], random: &LockEntropy) -> Result<Locked, LockFault> {
        let (own, nonce) = random.split_at_checked(KEY_LEN).ok_or(LockFault)?;
        let (epoch, wrapping) = self.keys.last().ok_or(LockFault)?;
        let mut sealed = copy.to_vec();
        // The key is used for this one text, so that its nonce need not differ from any other.
        let done = key(own)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key([0; NONCE_LEN]),
                aad(COPY_DOMAIN, parcel),
                &mut sealed,
            )
            .map_err(|_| LockFault);
        if done.is_err() {
            sealed.zeroize();
        }
        done?;
        let mut wrapped = own.to_vec();
        wrapping
            .seal_in_place_append_tag(
                Nonce::try_assume_unique_for_key(nonce).map_err(|_| LockFault)?,
                aad(WRAP_DOMAIN, parcel),
                &mut wrapped,
            )
            .map_err(|_| LockFault)?;
        let mut key = Vec::with_capacity(WRAPPED_LEN);
        key.extend_from_slice(&epoch.to_be_bytes());
        key.extend_from_slice(nonce);
        key.append(&mut wrapped);
        Ok(Locked { key, copy: sealed })
    }

    fn open(&self, parcel: &ExchangeId, locked: &Locked) -> Result<Zeroizing<Vec<u8>>, LockFault> {
        if locked.key.len() != WRAPPED_LEN {
            return Err(LockFault);
        }
        let (epoch, rest) = locked.key.split_first_chunk::<2>().ok_or(LockFault)?;
        let (nonce, wrapped) = rest.split_at_checked(NONCE_LEN).ok_or(LockFault)?;
        let epoch = u16::from_be_bytes(*epoch);
        let (_, wrapping) = self.keys.iter().find(|(own, _)| *own == epoch).ok_or(LockFault)?;
        let mut own = Zeroizing::new(wrapped.to_vec());
        let own = wrapping
            .open_in_place(
                Nonce::try_assume_unique_for_key(nonce).map_err(|_| LockFault)?,
                aad(WRAP_DOMAIN, parcel),
                &mut own,
            )
            .map_err(|_| LockFault)?;
        let mut copy = Zeroizing::new(locked.copy.clone());
        let length = key(own)?
            .open_in_place(Nonce::assume_unique_for_key([0; NONCE_LEN]), aad(COPY_DOMAIN, parcel), &mut copy)
            .map_err(|_| LockFault)?
            .len();
        copy.truncate(length);
        Ok(copy)
    }
}

fn key(bytes: &[u8]) -> Result<LessSafeKey, LockFault> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| LockFault)
}

fn aad(domain: &[u8], parcel: &ExchangeId) -> Aad<Vec<u8>> {
    Aad::from([domain, parcel.as_str().as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(epochs: &[u16]) -> CopyKeeper {
        let key = |epoch: &u16| (*epoch, Zeroizing::new([u8::try_from(*epoch).unwrap(); KEY_LEN]));
        CopyKeeper::new(epochs.iter().map(key).collect()).unwrap()
    }

    fn parcel(n: u8) -> ExchangeId {
        format!("00000000-0000-7000-8000-0000000000{n:02x}").parse().unwrap()
    }

    const COPY: &[u8] = br#"{"record":{"cognome":"CANARINO"}}"#;

    #[test]
    fn a_copy_opens_as_it_was_locked_also_after_the_keys_were_rolled_over() {
        let locked = keeper(&[1]).lock(&parcel(1), COPY, &Zeroizing::new([7; 44])).unwrap();
        assert!(!locked.copy.windows(8).any(|window| window == b"CANARINO"));
        assert_eq!(*keeper(&[1, 2]).open(&parcel(1), &locked).unwrap(), COPY);
        assert_eq!(keeper(&[2]).open(&parcel(1), &locked), Err(LockFault));
    }

    #[test]
    fn what_was_changed_or_belongs_to_another_does_not_open() {
        let keeper = keeper(&[1]);
        let locked = keeper.lock(&parcel(1), COPY, &Zeroizing::new([7; 44])).unwrap();
        let other = keeper.lock(&parcel(1), COPY, &Zeroizing::new([8; 44])).unwrap();
        assert_eq!(keeper.open(&parcel(2), &locked), Err(LockFault));
        let mixed = Locked { key: other.key, copy: locked.copy.clone() };
        assert_eq!(keeper.open(&parcel(1), &mixed), Err(LockFault));
        for byte in 0..locked.key.len() {
            let mut changed = locked.clone();
            changed.key[byte] ^= 1;
            assert_eq!(keeper.open(&parcel(1), &changed), Err(LockFault), "byte {byte} of the key");
        }
        for byte in 0..locked.copy.len() {
            let mut changed = locked.clone();
            changed.copy[byte] ^= 1;
            assert_eq!(keeper.open(&parcel(1), &changed), Err(LockFault), "byte {byte} of the copy");
        }
        assert_eq!(keeper.open(&parcel(1), &Locked { key: Vec::new(), copy: Vec::new() }), Err(LockFault));
    }
}
