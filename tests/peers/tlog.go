// Checks a log with packages that are not ours: golang.org/x/mod/sumdb/tlog and note, which check the Go checksum
// database. It knows of Varco only where a receipt keeps its entry and how a body is committed to.
//
// With GO111MODULE=off and GOPATH=/usr/share/gocode it builds from Debian's packages, without a network.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var (
	from     = flag.String("from", "", "the log: an https address, or a directory")
	ca       = flag.String("ca", "", "authority of the server's certificate, PEM")
	key      = flag.String("key", "", "the log's verifier key")
	receipts = flag.String("receipts", "", "receipts to check, separated by commas")
	old      = flag.String("old", "", "a checkpoint kept from before")
	entries  = flag.Bool("entries", false, "check entries and bodies too")
	cosigned = flag.String("cosigned", "", "keys of witnesses that must have cosigned the checkpoint, with commas")
	flip     = flag.String("flip", "", "path@offset: turns one bit of what is fetched, to see that it is noticed")
)

type log struct {
	client *http.Client
	seen   map[string][]byte
}

func (l *log) fetch(path string) ([]byte, error) {
	if data, ok := l.seen[path]; ok {
		return data, nil
	}
	data, err := l.read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if where, offset, ok := strings.Cut(*flip, "@"); ok && where == path {
		n, err := strconv.Atoi(offset)
		if err != nil || n >= len(data) {
			return nil, errors.New("-flip is beyond the file")
		}
		data[n] ^= 1
	}
	l.seen[path] = data
	return data, nil
}

func (l *log) read(path string) ([]byte, error) {
	if !strings.HasPrefix(*from, "https://") {
		return os.ReadFile(*from + "/" + path)
	}
	answer, err := l.client.Get(*from + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		return nil, errors.New(answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, 64<<20))
}

// The paths of c2sp.org/tlog-tiles are those of the checksum database without the height, which is always 8.
func path(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

// Makes the whole tree again from the leaf hashes and holds every tile against it. (TileHashReader would do with less,
// but in x/mod 0.7 it begins to compare tiles with their parents at a place that leaves some of them out.)
func (l *log) tree(tree tlog.Tree) (tlog.HashReader, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			if index >= int64(len(stored)) {
				return nil, errors.New("beyond the tree")
			}
			found = append(found, stored[index])
		}
		return found, nil
	})
	var tiles []tlog.Tile
	for level, count := 0, tree.N; count > 0; level, count = level+1, count>>8 {
		for n := int64(0); n*256 < count; n++ {
			tiles = append(tiles, tlog.Tile{H: 8, L: level, N: n, W: int(min(256, count-n*256))})
		}
	}
	for n := int64(0); n < tree.N; n += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: n / 256, W: int(min(256, tree.N-n))}
		data, err := l.fetch(path(tile))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has another length", path(tile))
		}
		for i := 0; i < tile.W; i++ {
			var leaf tlog.Hash
			copy(leaf[:], data[i*tlog.HashSize:])
			hashes, err := tlog.StoredHashesForRecordHash(n+int64(i), leaf, reader)
			if err != nil {
				return nil, err
			}
			stored = append(stored, hashes...)
		}
	}
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return nil, err
	}
	if root != tree.Hash {
		return nil, errors.New("the tiles do not lead to the checkpoint")
	}
	for _, tile := range tiles {
		want, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return nil, err
		}
		data, err := l.fetch(path(tile))
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(data, want) {
			return nil, fmt.Errorf("%s is not what the leaves make it", path(tile))
		}
	}
	return reader, nil
}

func open(data []byte, known note.Verifiers) (tree tlog.Tree, err error) {
	n, err := note.Open(data, known)
	if err != nil {
		return tree, err
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != n.Sigs[0].Name {
		return tree, errors.New("not a checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// A witness's key, after c2sp.org/tlog-cosignature.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(text string) (*witness, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("not a witness's key")
	}
	sum := sha256.Sum256([]byte(parts[0] + "\n" + string(key)))
	if binary.BigEndian.Uint32(sum[:]) != uint32(hash) {
		return nil, errors.New("the identifier is of another key")
	}
	return &witness{parts[0], uint32(hash), key[1:]}, nil
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(text, sig []byte) bool {
	if len(sig) != 72 {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), text)
	return ed25519.Verify(w.key, []byte(signed), sig[8:])
}

func checkCosigned(data []byte) error {
	for _, text := range strings.FieldsFunc(*cosigned, func(r rune) bool { return r == ',' }) {
		w, err := newWitness(text)
		if err != nil {
			return err
		}
		if _, err := note.Open(data, note.VerifierList(w)); err != nil {
			return fmt.Errorf("the witness %s has not cosigned: %w", w.name, err)
		}
	}
	return nil
}

func checkReceipt(data []byte, known note.Verifiers) error {
	head, checkpoint, ok := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a proof")
	}
	tree, err := open([]byte(checkpoint), known)
	if err != nil {
		return err
	}
	leaf, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf))
}

type body struct {
	Index uint64 `json:"index"`
	Slots map[string]struct {
		Salt string `json:"salt"`
		Body string `json:"body"`
	} `json:"slots"`
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func (l *log) checkEntries(tree tlog.Tree, hashes tlog.HashReader) error {
	leaves := make([]map[string]any, tree.N)
	for n := int64(0); n*256 < tree.N; n++ {
		tile := tlog.Tile{H: 8, L: 0, N: n, W: 256}
		if tree.N-n*256 < 256 {
			tile.W = int(tree.N - n*256)
		}
		data, err := l.fetch(strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1))
		if err != nil {
			return err
		}
		for i := n * 256; i < n*256+int64(tile.W); i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("entry %d: cut", i)
			}
			size := int(binary.BigEndian.Uint16(data))
			leaf := data[2 : 2+size]
			data = data[2+size:]
			want, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, i)})
			if err != nil {
				return err
			}
			if tlog.RecordHash(leaf) != want[0] {
				return fmt.Errorf("entry %d is not what was logged", i)
			}
			if err := json.Unmarshal(leaf, &leaves[i]); err != nil {
				return err
			}
		}
		if len(data) > 0 {
			return errors.New("a bundle is too long")
		}
	}
	for n := int64(0); n*256 < tree.N; n++ {
		if err := l.checkBodies(tlog.Tile{H: 8, L: 0, N: n, W: int(min(256, tree.N-n*256))}, leaves); err != nil {
			return err
		}
	}
	return nil
}

func (l *log) checkBodies(tile tlog.Tile, leaves []map[string]any) error {
	data, err := l.fetch(strings.Replace(tile.Path(), "tile/8/0/", "bodies/", 1))
	if err != nil {
		return err
	}
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var b body
		if err := json.Unmarshal(line, &b); err != nil {
			return err
		}
		// Entries are counted on from the years before, which the first one of a year says.
		first, _ := leaves[0]["index"].(float64)
		place := b.Index - uint64(first)
		if place >= uint64(len(leaves)) {
			return errors.New("a body of no entry")
		}
		for name, slot := range b.Slots {
			salt, err := base64.StdEncoding.DecodeString(slot.Salt)
			if err != nil {
				return err
			}
			sum := sha256.New()
			sum.Write([]byte("varco/log/slot/v1\x00"))
			sum.Write(salt)
			sum.Write([]byte(slot.Body))
			if leaves[place][name] != fmt.Sprintf("%x", sum.Sum(nil)) {
				return fmt.Errorf("the body `%s` of entry %d is not what was logged", name, b.Index)
			}
		}
	}
	return nil
}

func run() error {
	flag.Parse()
	verifier, err := note.NewVerifier(*key)
	if err != nil {
		return err
	}
	known := note.VerifierList(verifier)
	l := &log{client: http.DefaultClient, seen: map[string][]byte{}}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		l.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	}
	checkpoint, err := l.fetch("checkpoint")
	if err != nil {
		return err
	}
	tree, err := open(checkpoint, known)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := checkCosigned(checkpoint); err != nil {
		return err
	}
	hashes, err := l.tree(tree)
	if err != nil {
		return err
	}
	if *old != "" {
		data, err := os.ReadFile(*old)
		if err != nil {
			return err
		}
		before, err := open(data, known)
		if err != nil {
			return fmt.Errorf("old checkpoint: %w", err)
		}
		proof, err := tlog.ProveTree(tree.N, before.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash); err != nil {
			return fmt.Errorf("the log was forked: %w", err)
		}
	}
	for _, path := range strings.FieldsFunc(*receipts, func(r rune) bool { return r == ',' }) {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := checkReceipt(data, known); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if *entries {
		if err := l.checkEntries(tree, hashes); err != nil {
			return err
		}
	}
	fmt.Println("ok", tree.N)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
