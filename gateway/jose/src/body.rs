//! The cipher over bodies of the access log: AES-256-GCM twice, once for the body under a key of its own, once for that
//! key under the key of the epoch.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use varco_core::log::sealing::{BodyCipher, CipherFault, EpochKey, Place};
use zeroize::Zeroizing;

const KEY: usize = 32;
const TAG: usize = 16;

/// A wrapped key: nonce, key, tag.
const WRAPPED: usize = NONCE_LEN + KEY + TAG;

/// AES-256-GCM. The nonces of wrapped keys are random: an epoch stays far below the 2^32 of them that NIST SP 800-38D
/// section 8.3 allows one key. A body's own key is used once, so its nonce may be zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct AesBodyCipher;

impl BodyCipher for AesBodyCipher {
    fn new_key(&self) -> Result<EpochKey, CipherFault> {
        let mut key = Zeroizing::new([0; KEY]);
        rand::fill(&mut *key).map_err(|_| CipherFault)?;
        Ok(key)
    }

    fn seal(&self, key: &EpochKey, place: Place, body: &[u8]) -> Result<Vec<u8>, CipherFault> {
        let own = self.new_key()?;
        let mut sealed = wrap(key, &own, place)?;
        let mut bytes = body.to_vec();
        cipher(&own)?
            .seal_in_place_append_tag(zero(), aad(place, "body"), &mut bytes)
            .map_err(|_| CipherFault)?;
        sealed.append(&mut bytes);
        Ok(sealed)
    }

    fn open(&self, key: &EpochKey, place: Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherFault> {
        let (wrapped, body) = sealed.split_at_checked(WRAPPED).ok_or(CipherFault)?;
        let own = unwrap(key, wrapped, place)?;
        let mut bytes = Zeroizing::new(body.to_vec());
        let length = cipher(&own)?
            .open_in_place(zero(), aad(place, "body"), &mut bytes)
            .map_err(|_| CipherFault)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn renew(
        &self,
        old: &EpochKey,
        new: &EpochKey,
        place: Place,
        sealed: &[u8],
    ) -> Result<Vec<u8>, CipherFault> {
        let (wrapped, body) = sealed.split_at_checked(WRAPPED).ok_or(CipherFault)?;
        let mut renewed = wrap(new, &unwrap(old, wrapped, place)?, place)?;
        renewed.extend_from_slice(body);
        Ok(renewed)
    }
}

fn wrap(key: &EpochKey, own: &EpochKey, place: Place) -> Result<Vec<u8>, CipherFault> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| CipherFault)?;
    let mut bytes = own.to_vec();
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    cipher(key)?
        .seal_in_place_append_tag(nonce_used, aad(place, "key"), &mut bytes)
        .map_err(|_| CipherFault)?;
    Ok([nonce.as_slice(), &bytes].concat())
}

fn unwrap(key: &EpochKey, wrapped: &[u8], place: Place) -> Result<EpochKey, CipherFault> {
    let (nonce, bytes) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or(CipherFault)?;
    let mut bytes = Zeroizing::new(bytes.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(key)?.open_in_place(nonce, aad(place, "key"), &mut bytes).map_err(|_| CipherFault)?;
    Ok(Zeroizing::new(<[u8; KEY]>::try_from(&*opened).map_err(|_| CipherFault)?))
}

fn cipher(key: &EpochKey) -> Result<LessSafeKey, CipherFault> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &**key).map_err(|_| CipherFault)?))
}

fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn aad(place: Place, what: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("varco/log/{what}/v1 {} {}", place.index, place.part.text()).into_bytes())
}

#[cfg(test)]
mod tests {
    use varco_core::log::entry::SlotName;
    use varco_core::log::sealing::Part;

    use super::*;

    const PLACE: Place = Place { index: 7, part: Part::Slot(SlotName::Operator) };

    #[test]
    fn a_body_opens_with_its_epochs_key_at_its_own_place_only() {
        let cipher = AesBodyCipher;
        let (key, other) = (cipher.new_key().unwrap(), cipher.new_key().unwrap());
        let sealed = cipher.seal(&key, PLACE, b"a body").unwrap();
        assert_eq!(*cipher.open(&key, PLACE, &sealed).unwrap(), b"a body");
        assert_ne!(sealed, cipher.seal(&key, PLACE, b"a body").unwrap());
        assert_eq!(cipher.open(&other, PLACE, &sealed), Err(CipherFault));
        for place in [Place { index: 8, ..PLACE }, Place { part: Part::About, ..PLACE }] {
            assert_eq!(cipher.open(&key, place, &sealed), Err(CipherFault));
        }
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(cipher.open(&key, PLACE, &bad), Err(CipherFault), "byte {at}");
            assert_eq!(cipher.open(&key, PLACE, &sealed[..at]), Err(CipherFault));
        }
    }

    #[test]
    fn a_renewed_body_opens_with_the_new_key_alone() {
        let cipher = AesBodyCipher;
        let (old, new) = (cipher.new_key().unwrap(), cipher.new_key().unwrap());
        let sealed = cipher.seal(&old, PLACE, b"a body").unwrap();
        let renewed = cipher.renew(&old, &new, PLACE, &sealed).unwrap();
        assert_eq!(*cipher.open(&new, PLACE, &renewed).unwrap(), b"a body");
        assert_eq!(cipher.open(&old, PLACE, &renewed), Err(CipherFault));
        assert_eq!(cipher.renew(&new, &old, PLACE, &sealed), Err(CipherFault));
    }
}
