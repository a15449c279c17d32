//! The store from outside, on SQLite and on PostgreSQL.

#[cfg(test)]
mod documents;
#[cfg(test)]
mod erasure;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod inject;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod log;
#[cfg(test)]
mod parcels;
#[cfg(test)]
#[path = "../../../../tests/src/postgres.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole product, which use the rest")]
mod postgres;
#[cfg(test)]
mod power;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod search;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod withdrawal;
#[cfg(test)]
mod world;

/// Each of these tests on both databases.
#[cfg(test)]
macro_rules! on_both {
    ($($test:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::world::World::sqlite(stringify!($test))).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some(world) = crate::world::World::postgres(stringify!($test)) {
                        super::$test(world).await;
                    }
                }
            )*
        }
    };
}
#[cfg(test)]
use on_both;
