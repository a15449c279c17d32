use proptest::prelude::*;

use super::*;
use crate::log::tree::{Frontier, consistency_proof, inclusion_path, leaf_hash, verify_inclusion};

/// The tiles of a tree made from its leaf hashes, level by level.
fn build(leaves: &[Sha256]) -> Tiles {
    let size = leaves.len() as u64;
    let mut tiles = Tiles::of(size);
    let mut level = leaves.to_vec();
    for tile in TileId::all(size) {
        if tile.n == 0 && tile.level > 0 {
            level = level.as_chunks::<256>().0.iter().map(|full| perfect_root(full).unwrap()).collect();
        }
        let first = usize::try_from(tile.first()).unwrap();
        tiles.insert(tile, level[first..first + usize::from(tile.width)].to_vec());
    }
    tiles
}

fn leaves(count: usize) -> Vec<Sha256> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn a_tree_of_70000_has_the_tiles_that_the_specification_counts() {
    let of_level = |level| TileId::all(70_000).filter(move |tile| tile.level == level).collect::<Vec<_>>();
    assert_eq!(of_level(0).len(), 274);
    assert!(of_level(0)[..273].iter().all(TileId::is_full));
    assert_eq!(of_level(0)[273].to_string(), "tile/0/273.p/112");
    let upper: Vec<_> = [of_level(1), of_level(2)].concat().iter().map(ToString::to_string).collect();
    assert_eq!(upper, ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]);
    assert_eq!(TileId::all(256).map(|t| t.to_string()).collect::<Vec<_>>(), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(TileId::all(0).count(), 0);
    assert_eq!(BundleId::all(70_000).last().unwrap().to_string(), "tile/entries/273.p/112");
}

#[test]
fn paths_are_written_as_the_specification_writes_them_and_read_back_only_so() {
    let tile = TileId { level: 3, n: 1_234_067, width: 256 };
    assert_eq!(tile.to_string(), "tile/3/x001/x234/067");
    for wrong in [
        "tile/0/67",
        "tile/0/1234",
        "tile/0/001/234",
        "tile/0/x001/x234",
        "tile/0/x000/001",
        "tile/00/001",
        "tile/8/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/+01",
        "tile/0/",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/x/001",
        "tile/entries",
        "",
    ] {
        assert_eq!(wrong.parse::<TileId>(), Err(TileFault::Path), "{wrong}");
    }
    assert_eq!("tile/entries/001.p/9".parse(), Ok(BundleId { n: 1, width: 9 }));
    assert_eq!("tile/entries/1".parse::<BundleId>(), Err(TileFault::Path));
}

#[test]
fn proofs_from_tiles_lead_to_the_root_of_the_frontier() {
    for size in [1, 2, 255, 256, 257, 511, 513, 1000, 65_537] {
        let all = leaves(size);
        let (tiles, mut frontier) = (build(&all), Frontier::new());
        frontier.append(&all);
        let size64 = size as u64;
        assert_eq!(tree::root(&tiles, size64), Ok(frontier.root()), "{size}");
        for index in [0, size / 3, size / 2, size.saturating_sub(2), size - 1] {
            let path = inclusion_path(&tiles, index as u64, size64).unwrap();
            verify_inclusion(&all[index], index as u64, size64, &path, &frontier.root()).unwrap();
        }
    }
}

#[test]
fn the_tiles_said_to_be_needed_are_enough() {
    let all = leaves(66_000);
    let whole = build(&all);
    let size = all.len() as u64;
    let only = |wanted: Vec<TileId>| {
        let mut tiles = Tiles::of(size);
        for tile in wanted {
            tiles.insert(tile, whole.hashes[&(tile.level, tile.n)].clone());
        }
        tiles
    };
    for index in [0, 255, 256, 40_000, 65_536, 65_999] {
        let wanted = for_inclusion(index, size);
        assert!(wanted.len() <= 6, "{wanted:?}");
        assert_eq!(inclusion_path(&only(wanted), index, size), inclusion_path(&whole, index, size));
        let wanted = for_consistency(index + 1, size);
        assert_eq!(
            consistency_proof(&only(wanted), index + 1, size),
            consistency_proof(&whole, index + 1, size)
        );
    }
    assert_eq!(for_inclusion(size, size), []);
}

#[test]
fn contents_of_another_length_are_refused() {
    let tile = TileId { level: 0, n: 0, width: 2 };
    assert_eq!(from_bytes(tile, &[7; 64]).map(|hashes| to_bytes(&hashes)), Ok(vec![7; 64]));
    for length in [0, 32, 63, 65, 96] {
        assert_eq!(from_bytes(tile, &vec![7; length]), Err(TileFault::Length), "{length}");
    }
    let bundle = BundleId { n: 0, width: 2 };
    let bytes = bundle_to_bytes([b"ab".as_slice(), b""]).unwrap();
    assert_eq!(bytes, [0, 2, b'a', b'b', 0, 0]);
    assert_eq!(bundle_from_bytes(bundle, &bytes), Ok(vec![b"ab".as_slice(), b""]));
    for length in 0..bytes.len() {
        assert_eq!(bundle_from_bytes(bundle, &bytes[..length]), Err(TileFault::Length), "{length}");
    }
    assert_eq!(bundle_to_bytes([vec![0; 65_536].as_slice()]), None);
}

proptest! {
    #[test]
    fn every_path_reads_back(level in 0..=LEVEL_MAX, n in 0..u64::MAX / 256, width in 1_u16..=256) {
        let (tile, bundle) = (TileId { level, n, width }, BundleId { n, width });
        prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        prop_assert_eq!(bundle.to_string().parse(), Ok(bundle));
    }

    #[test]
    fn what_is_read_is_printed_again(text in "tile/[0-9a-z]{1,7}(/x?[0-9]{2,4}){0,4}(\\.p/[0-9]{1,3})?") {
        if let Ok(tile) = text.parse::<TileId>() {
            prop_assert_eq!(tile.to_string(), text.clone());
        }
        if let Ok(bundle) = text.parse::<BundleId>() {
            prop_assert_eq!(bundle.to_string(), text);
        }
    }

    #[test]
    fn no_bytes_make_a_bundle_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), width in 1_u16..=256) {
        let bundle = BundleId { n: 0, width };
        if let Ok(entries) = bundle_from_bytes(bundle, &bytes) {
            prop_assert_eq!(bundle_to_bytes(entries), Some(bytes));
        }
    }

    #[test]
    fn no_place_in_a_tree_makes_a_tile_panic(level in any::<u8>(), node in 0_u32..80, index in any::<u64>(), size in any::<u64>()) {
        let _ = TileId::holding(level, index, size);
        let _ = Tiles::of(size).node(node, index);
        let _ = for_inclusion(index, size);
        let _ = for_consistency(index, size);
    }
}
