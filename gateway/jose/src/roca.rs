//! The fingerprint of RSA keys made by the flawed Infineon library (CVE-2017-15361, "ROCA").
//!
//! Their primes are a multiple of a primorial plus a power of 65537, so the modulus lies, for every small prime, in the
//! subgroup that 65537 generates. A sound key does so for all of these primes about once in 2^27.

/// The odd primes whose subgroup is small enough to tell something, up to 167 as in the published fingerprint.
pub(crate) const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus, big endian, bears the fingerprint.
pub(crate) fn bears_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| generated(modulo(modulus, *prime), *prime))
}

fn modulo(modulus: &[u8], prime: u32) -> u32 {
    modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime)
}

/// Whether `residue` is a power of 65537 modulo `prime`.
fn generated(residue: u32, prime: u32) -> bool {
    let generator = 65537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_powers_of_65537() {
        // Any power of 65537 bears it whatever its size; here 65537^3, and one more spoils it.
        let power = 65537_u64.pow(3);
        assert!(bears_fingerprint(&power.to_be_bytes()));
        assert!(!bears_fingerprint(&(power + 1).to_be_bytes()));
    }

    #[test]
    fn ordinary_odd_numbers_do_not_bear_it() {
        let bearing = (1..2000_u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
            .filter(|n| bears_fingerprint(&n.to_be_bytes()))
            .count();
        assert_eq!(bearing, 0);
    }
}
