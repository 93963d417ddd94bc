//! How the M rows of a product are cut into tiles that fit the registers.

/// Tiles of nearly equal height, at most `most` rows each: 16 rows become 8 + 8 where 12 fit, not 12 + 4, whose second
/// tile would leave most of the units idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTiles {
    /// The number of tiles.
    pub(crate) count: usize,
    base: usize,
    /// So many tiles, the first ones, have a row more.
    extra: usize,
}

impl RowTiles {
    pub(crate) fn new(rows: usize, most: usize) -> Self {
        let count = rows.div_ceil(most);
        Self { count, base: rows / count.max(1), extra: rows % count.max(1) }
    }

    /// The first row of a tile; of the tile behind the last, the number of rows.
    pub(crate) fn start(&self, tile: usize) -> usize {
        tile * self.base + tile.min(self.extra)
    }

    /// The height of a tile.
    pub(crate) fn rows(&self, tile: usize) -> usize {
        self.base + usize::from(tile < self.extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_rows_and_differ_by_one_at_most() {
        for most in [1, 6, 12] {
            for rows in 0..300usize {
                let tiles = RowTiles::new(rows, most);
                assert_eq!(tiles.count, rows.div_ceil(most));
                assert_eq!(tiles.start(tiles.count), rows);
                for tile in 0..tiles.count {
                    assert_eq!(tiles.start(tile) + tiles.rows(tile), tiles.start(tile + 1));
                    assert!(tiles.rows(tile) <= most && tiles.rows(tile) + 1 >= tiles.rows(0));
                }
            }
        }
        assert_eq!(RowTiles::new(16, 12).rows(0), 8);
    }
}
