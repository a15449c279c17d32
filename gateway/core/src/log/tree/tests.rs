use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// RFC 6962 section 2.1, word for word: recursive, and written apart from the code it checks. Remembers the hash of
/// every range it has met, because the tests meet them again and again.
struct Naive {
    leaves: Vec<Sha256>,
    met: RefCell<HashMap<(usize, usize), Sha256>>,
}

impl Naive {
    fn of(count: usize) -> Self {
        Self { leaves: leaves(count), met: RefCell::default() }
    }

    fn mth(&self, range: Range<usize>) -> Sha256 {
        let (start, end) = (range.start, range.end);
        if start == end {
            return Sha256::of(&[]);
        }
        if end - start == 1 {
            return self.leaves[start];
        }
        if let Some(known) = self.met.borrow().get(&(start, end)) {
            return *known;
        }
        let middle = start + k(end - start);
        let (left, right) = (self.mth(start..middle), self.mth(middle..end));
        let hash = Sha256::of_parts(&[&[1], left.as_bytes(), right.as_bytes()]);
        self.met.borrow_mut().insert((start, end), hash);
        hash
    }

    fn root(&self, size: usize) -> Sha256 {
        self.mth(0..size)
    }

    fn head(&self, size: usize) -> Head {
        Head { size: size as u64, root: self.root(size) }
    }

    /// PATH(m, D[start:end]), with `m` counted from the first leaf of all.
    fn path(&self, m: usize, range: Range<usize>) -> Vec<Sha256> {
        let (start, end) = (range.start, range.end);
        if end - start <= 1 {
            return vec![];
        }
        let middle = start + k(end - start);
        if m < middle {
            [self.path(m, start..middle), vec![self.mth(middle..end)]].concat()
        } else {
            [self.path(m, middle..end), vec![self.mth(start..middle)]].concat()
        }
    }

    /// PROOF(m, D[0:n]).
    fn proof(&self, m: usize, n: usize) -> Vec<Sha256> {
        if m == 0 { vec![] } else { self.subproof(m, 0..n) }
    }

    fn subproof(&self, m: usize, range: Range<usize>) -> Vec<Sha256> {
        let (start, end) = (range.start, range.end);
        if m == end {
            // The specification's flag `b` is true as long as only left halves were taken.
            return if start == 0 { vec![] } else { vec![self.mth(start..end)] };
        }
        let middle = start + k(end - start);
        if m <= middle {
            [self.subproof(m, start..middle), vec![self.mth(middle..end)]].concat()
        } else {
            [self.subproof(m, middle..end), vec![self.mth(start..middle)]].concat()
        }
    }
}

impl Hashes for Naive {
    fn node(&self, level: u32, index: u64) -> Option<Sha256> {
        let width = 1_usize.checked_shl(level)?;
        let start = usize::try_from(index).ok()?.checked_mul(width)?;
        let end = start.checked_add(width)?;
        (end <= self.leaves.len()).then(|| self.mth(start..end))
    }
}

/// The largest power of two smaller than `n`.
fn k(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// Every tree up to this size is tried whole.
const SMALL: usize = 130;

fn leaves(count: usize) -> Vec<Sha256> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn flipped(hash: &Sha256, bit: usize) -> Sha256 {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Sha256::from_bytes(bytes)
}

/// The leaves and roots that the first certificate transparency implementation published with its tests.
#[test]
fn the_roots_of_the_reference_implementation_come_out() {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    for (size, expected) in roots.iter().enumerate() {
        assert_eq!(frontier.root().to_string(), *expected, "size {size}");
        if let Some(entry) = entries.get(size) {
            frontier.push(leaf_hash(entry));
        }
    }
}

#[test]
fn every_inclusion_path_of_every_small_tree_is_the_specified_one() {
    let tree = Naive::of(SMALL);
    for size in 0..=SMALL {
        let (size64, top) = (size as u64, tree.root(size));
        assert_eq!(root(&tree, size64), Ok(top));
        for index in 0..size {
            let (leaf, path) = (&tree.leaves[index], inclusion_path(&tree, index as u64, size64).unwrap());
            assert_eq!(path, tree.path(index, 0..size), "{index} in {size}");
            assert_eq!(
                verify_inclusion(leaf, index as u64, size64, &path, &top),
                Ok(()),
                "{index} in {size}"
            );
        }
        assert_eq!(inclusion_path(&tree, size64, size64), Err(ProveError::OutOfRange));
    }
}

#[test]
fn every_consistency_proof_of_every_small_tree_is_the_specified_one() {
    let tree = Naive::of(SMALL);
    for new in 0..=SMALL {
        for old in 0..=new {
            let proof = consistency_proof(&tree, old as u64, new as u64).unwrap();
            assert_eq!(proof, tree.proof(old, new), "{old} in {new}");
            assert_eq!(
                verify_consistency(&tree.head(old), &tree.head(new), &proof),
                Ok(()),
                "{old} in {new}"
            );
        }
        assert_eq!(consistency_proof(&tree, new as u64 + 1, new as u64), Err(ProveError::OutOfRange));
    }
}

#[test]
fn a_frontier_and_its_batches_agree_with_the_whole_tree_at_every_size() {
    let tree = Naive::of(SMALL);
    let mut one_by_one = Frontier::new();
    for size in 0..SMALL {
        assert_eq!(one_by_one.root(), tree.root(size));
        assert_eq!(Frontier::from_bytes(&one_by_one.to_bytes()).as_ref(), Ok(&one_by_one));
        for batch_len in [0, 1, 2, 7, 32] {
            let end = (size + batch_len).min(SMALL);
            let mut grown = one_by_one.clone();
            let batch = grown.append(&tree.leaves[size..end]);
            assert_eq!((batch.first(), batch.size()), (size as u64, end as u64));
            for position in 0..end - size {
                assert_eq!(batch.path(position), Some(tree.path(size + position, 0..end)));
            }
            assert_eq!(batch.path(end - size), None);
        }
        one_by_one.push(tree.leaves[size]);
    }
}

#[test]
fn a_frontier_is_only_read_from_its_own_bytes() {
    let mut frontier = Frontier::new();
    frontier.append(&leaves(5));
    let bytes = frontier.to_bytes();
    assert_eq!(bytes.len(), 8 + 2 * 32);
    for length in 0..bytes.len() {
        assert_eq!(Frontier::from_bytes(&bytes[..length]), Err(FrontierFault), "{length}");
    }
    assert_eq!(Frontier::from_bytes(&[bytes.as_slice(), &[0; 32]].concat()), Err(FrontierFault));
}

#[test]
fn claims_about_impossible_places_are_refused() {
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    let two = Head { size: 2, root: node_hash(&a, &b) };
    let one = Head { size: 1, root: a };
    let none = Head { size: 0, root: empty_root() };
    assert_eq!(root_from_path(&a, 0, 0, &[]), Err(PathFault::OutOfRange));
    assert_eq!(root_from_path(&a, 1, 1, &[]), Err(PathFault::OutOfRange));
    assert_eq!(root_from_path(&a, u64::MAX, u64::MAX, &[]), Err(PathFault::OutOfRange));
    assert_eq!(root_from_path(&a, 0, 1, &[b]), Err(PathFault::WrongLength));
    assert_eq!(root_from_path(&a, 0, 2, &[]), Err(PathFault::WrongLength));
    assert_eq!(verify_consistency(&two, &one, &[]), Err(PathFault::OutOfRange));
    assert_eq!(verify_consistency(&one, &two, &[]), Err(PathFault::WrongLength));
    assert_eq!(verify_consistency(&one, &two, &[b, b]), Err(PathFault::WrongLength));
    assert_eq!(verify_consistency(&one, &one, &[b]), Err(PathFault::WrongLength));
    assert_eq!(verify_consistency(&one, &Head { size: 1, root: b }, &[]), Err(PathFault::RootDiffers));
    assert_eq!(verify_consistency(&none, &two, &[]), Ok(()));
    assert_eq!(verify_consistency(&Head { size: 0, root: a }, &two, &[]), Err(PathFault::RootDiffers));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_of_any_lengths_give_the_paths_of_the_whole_tree(lengths in prop::collection::vec(0_usize..40, 1..12)) {
        let tree = Naive::of(lengths.iter().sum());
        let mut frontier = Frontier::new();
        for length in lengths {
            let start = usize::try_from(frontier.size()).unwrap();
            let end = start + length;
            let batch = frontier.append(&tree.leaves[start..end]);
            prop_assert_eq!(frontier.root(), tree.root(end));
            for position in 0..length {
                prop_assert_eq!(batch.path(position), Some(tree.path(start + position, 0..end)));
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_spoils_an_inclusion_proof(
        size in 1_usize..400, at in any::<prop::sample::Index>(), bit in any::<usize>(), which in any::<prop::sample::Index>(),
    ) {
        let tree = Naive::of(size);
        let (index, root) = (at.index(size), tree.root(size));
        let (leaf, mut path) = (tree.leaves[index], tree.path(index, 0..size));
        prop_assert_eq!(verify_inclusion(&leaf, index as u64, size as u64, &path, &root), Ok(()));
        prop_assert!(verify_inclusion(&flipped(&leaf, bit), index as u64, size as u64, &path, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index as u64, size as u64, &path, &flipped(&root, bit)).is_err());
        for other in [0, index as u64 / 2, index as u64 + 1, size as u64 - 1].into_iter().filter(|i| *i != index as u64) {
            prop_assert!(verify_inclusion(&leaf, other, size as u64, &path, &root).is_err());
        }
        if !path.is_empty() {
            let position = which.index(path.len());
            path[position] = flipped(&path[position], bit);
            prop_assert!(verify_inclusion(&leaf, index as u64, size as u64, &path, &root).is_err());
            path.remove(position);
            prop_assert!(verify_inclusion(&leaf, index as u64, size as u64, &path, &root).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_spoils_a_consistency_proof(
        new in 2_usize..400, at in any::<prop::sample::Index>(), bit in any::<usize>(), which in any::<prop::sample::Index>(),
    ) {
        let tree = Naive::of(new);
        let old = 1 + at.index(new - 1);
        let (old_head, new_head) = (tree.head(old), tree.head(new));
        let mut proof = tree.proof(old, new);
        prop_assert_eq!(verify_consistency(&old_head, &new_head, &proof), Ok(()));
        let wrong = Head { root: flipped(&old_head.root, bit), ..old_head };
        prop_assert!(verify_consistency(&wrong, &new_head, &proof).is_err());
        let wrong = Head { root: flipped(&new_head.root, bit), ..new_head };
        prop_assert!(verify_consistency(&old_head, &wrong, &proof).is_err());
        let position = which.index(proof.len());
        proof[position] = flipped(&proof[position], bit);
        prop_assert!(verify_consistency(&old_head, &new_head, &proof).is_err());
        proof.remove(position);
        prop_assert!(verify_consistency(&old_head, &new_head, &proof).is_err());
    }

    #[test]
    fn no_claim_makes_a_verifier_panic(
        index in any::<u64>(), old in any::<u64>(), new in any::<u64>(), seed in any::<[u8; 32]>(), length in 0_usize..70,
    ) {
        let hash = Sha256::from_bytes(seed);
        let path = vec![hash; length];
        let _ = verify_inclusion(&hash, index, new, &path, &hash);
        let _ = verify_consistency(&Head { size: old, root: hash }, &Head { size: new, root: hash }, &path);
    }

    #[test]
    fn proofs_at_any_size_have_the_length_a_verifier_expects(size in 1_u64..u64::MAX / 2, at in any::<u64>(), seed in any::<[u8; 32]>()) {
        /// A tree so large that all its nodes might as well be one.
        struct Same(Sha256);
        impl Hashes for Same {
            fn node(&self, _level: u32, _index: u64) -> Option<Sha256> {
                Some(self.0)
            }
        }
        let (same, index) = (Same(Sha256::from_bytes(seed)), at % size);
        let path = inclusion_path(&same, index, size).unwrap();
        prop_assert!(path.len() <= 63);
        prop_assert!(root_from_path(&same.0, index, size, &path).is_ok());
        let proof = consistency_proof(&same, index + 1, size).unwrap();
        let (old, new) = (Head { size: index + 1, root: same.0 }, Head { size, root: same.0 });
        prop_assert_ne!(verify_consistency(&old, &new, &proof), Err(PathFault::WrongLength));
    }
}
