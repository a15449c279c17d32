//! The log's tree against two implementations that are not ours: `ct-merkle` (RFC 6962 in memory) and `tlog_tiles`
//! (a port of Go's `sumdb/tlog`, fed with our tiles, which it authenticates itself).

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2_next::Sha256 as Digest;
use tlog_tiles::{Error, Hash, Tile, TileHashReader, TileReader};

use crate::hash::Sha256;
use crate::log::checkpoint::Checkpoint;
use crate::log::tile::{self, TileId, Tiles, perfect_root};
use crate::log::tree::{
    Frontier, Hashes as _, Head, consistency_proof, inclusion_path, leaf_hash, verify_consistency,
    verify_inclusion,
};

/// Around the powers of two and the widths of tiles, where trees change their shape.
const SIZES: [usize; 16] = [1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 511, 512, 513, 700, 1025];

fn entries(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("entry {i}").into_bytes()).collect()
}

/// Our tiles of a log, as a server would answer for them.
struct Served(Tiles);

impl Served {
    fn of(entries: &[Vec<u8>]) -> Self {
        let size = entries.len() as u64;
        let mut tiles = Tiles::of(size);
        let mut level: Vec<Sha256> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        for id in TileId::all(size) {
            if id.n == 0 && id.level > 0 {
                level = level.chunks_exact(256).map(|full| perfect_root(full).unwrap()).collect();
            }
            let first = usize::try_from(id.first()).unwrap();
            tiles.insert(id, level[first..first + usize::from(id.width)].to_vec());
        }
        Self(tiles)
    }
}

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let bytes = |wanted: &Tile| {
            // Ours leave out the height, which C2SP fixes at 8.
            let id: TileId = wanted.path().replacen("tile/8/", "tile/", 1).parse().expect("a path of C2SP");
            let level = u32::from(id.level) * 8;
            let hashes =
                (0..u64::from(id.width)).map(|i| self.0.node(level, id.first() + i).expect("a tile of ours"));
            tile::to_bytes(&hashes.collect::<Vec<_>>())
        };
        Ok(tiles.iter().map(bytes).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

fn theirs(hash: &Sha256) -> Hash {
    Hash(*hash.as_bytes())
}

fn bytes(path: &[Sha256]) -> Vec<u8> {
    tile::to_bytes(path)
}

#[test]
fn roots_and_proofs_are_those_of_ct_merkle() {
    let entries = entries(1025);
    let (mut tree, mut frontier) = (MemoryBackedTree::<Digest, Vec<u8>>::new(), Frontier::new());
    for (count, entry) in entries.iter().enumerate() {
        tree.push(entry.clone());
        frontier.push(leaf_hash(entry));
        let size = count + 1;
        assert_eq!(tree.root().as_bytes().as_slice(), frontier.root().as_bytes(), "{size}");
        if !SIZES.contains(&size) {
            continue;
        }
        let (ours, new) = (Served::of(&entries[..size]).0, size as u64);
        for index in [0, size / 3, size / 2, size - 1] {
            let path = inclusion_path(&ours, index as u64, new).unwrap();
            assert_eq!(tree.prove_inclusion(index).as_bytes(), bytes(&path), "{index} in {size}");
            if index > 0 {
                let proof = consistency_proof(&ours, index as u64, new).unwrap();
                assert_eq!(
                    tree.prove_consistency(size - index).as_bytes(),
                    bytes(&proof),
                    "{index} in {size}"
                );
            }
        }
    }
}

#[test]
fn tlog_tiles_authenticates_our_tiles_and_makes_the_same_proofs() {
    let all = entries(1025);
    for size in SIZES.into_iter().filter(|size| *size > 1) {
        let (served, mut frontier) = (Served::of(&all[..size]), Frontier::new());
        let hashes: Vec<Sha256> = all[..size].iter().map(|entry| leaf_hash(entry)).collect();
        frontier.append(&hashes);
        let (new, root) = (size as u64, frontier.root());
        let reader = TileHashReader::new(new, theirs(&root), &served);
        assert_eq!(tlog_tiles::tree_hash(new, &reader).unwrap(), theirs(&root));
        for index in [0, size / 3, size / 2, size - 1] {
            let n = index as u64;
            let path = inclusion_path(&served.0, n, new).unwrap();
            let proof = tlog_tiles::prove_record(new, n, &reader).unwrap();
            assert_eq!(proof, path.iter().map(theirs).collect::<Vec<_>>(), "{index} in {size}");
            tlog_tiles::check_record(&proof, new, theirs(&root), n, theirs(&hashes[index])).unwrap();
            assert_eq!(verify_inclusion(&hashes[index], n, new, &path, &root), Ok(()));
            let mut before = Frontier::new();
            before.append(&hashes[..=index]);
            let old = Head { size: n + 1, root: before.root() };
            let path = consistency_proof(&served.0, old.size, new).unwrap();
            let proof = tlog_tiles::prove_tree(new, old.size, &reader).unwrap();
            assert_eq!(proof, path.iter().map(theirs).collect::<Vec<_>>(), "{index} in {size}");
            tlog_tiles::check_tree(&proof, new, theirs(&root), old.size, theirs(&old.root)).unwrap();
            assert_eq!(verify_consistency(&old, &Head { size: new, root }, &path), Ok(()));
        }
    }
}

#[test]
fn a_proof_that_tlog_tiles_makes_from_a_wrong_tile_does_not_verify() {
    let all = entries(700);
    let (mut served, mut frontier) = (Served::of(&all), Frontier::new());
    let mut hashes: Vec<Sha256> = all.iter().map(|entry| leaf_hash(entry)).collect();
    frontier.append(&hashes);
    let mut wrong = *hashes[400].as_bytes();
    wrong[0] ^= 1;
    hashes[400] = Sha256::from_bytes(wrong);
    served.0.insert(TileId { level: 0, n: 1, width: 256 }, hashes[256..512].to_vec());
    let root = theirs(&frontier.root());
    let reader = TileHashReader::new(700, root, &served);
    // This version reads a full tile without checking it when the right edge shares tiles, so the proof is checked.
    let proof = tlog_tiles::prove_record(700, 300, &reader);
    let checked =
        proof.and_then(|proof| tlog_tiles::check_record(&proof, 700, root, 300, theirs(&hashes[300])));
    assert!(checked.is_err());
}

#[test]
fn tile_paths_and_checkpoints_read_the_same_on_both_sides() {
    for size in [1_u64, 256, 257, 70_000, 1_234_567_890_123] {
        let last = TileId::holding(0, size - 1, size).unwrap();
        for id in [Some(last), TileId::holding(1, 0, size), TileId::holding(2, 0, size)].into_iter().flatten()
        {
            let wanted = Tile::from_path(&id.to_string().replacen("tile/", "tile/8/", 1)).unwrap();
            let read = (wanted.level(), wanted.level_index(), wanted.width());
            assert_eq!(read, (id.level, id.n, u32::from(id.width)));
        }
        let checkpoint = Checkpoint { origin: "varco.example/log".into(), size, root: Sha256::of(b"r") };
        let read = tlog_tiles::Checkpoint::from_bytes(checkpoint.text().as_bytes()).unwrap();
        assert_eq!(
            (read.origin(), read.size(), read.hash().0),
            ("varco.example/log", size, *checkpoint.root.as_bytes())
        );
        assert_eq!(Checkpoint::parse(std::str::from_utf8(&read.to_bytes()).unwrap()), Ok(checkpoint));
    }
}
