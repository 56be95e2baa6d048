//! Which requests read all points of a device: as few as the device allows.

use crate::point::{Point, Table};

/// One request to a Modbus server, and which points its answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub table: Table,
    pub address: u16,
    pub quantity: u16,
    /// (index of the point, where it begins in the answer)
    pub points: Vec<(usize, usize)>,
}

/// What a device admits in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    pub registers_max: u16,
    pub bits_max: u16,
    /// So many registers or bits that no point asks for may lie between two points of one request.
    /// With 0 gaps are never read: what lies there may answer with an exception.
    pub gap_max: u16,
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits { registers_max: Table::Holding.quantity_max(), bits_max: Table::Coil.quantity_max(), gap_max: 0 }
    }
}

impl RequestLimits {
    fn quantity_max(&self, table: Table) -> u16 {
        if table.holds_bits() { self.bits_max } else { self.registers_max }.min(table.quantity_max())
    }
}

/// Merges points of one table that lie next to each other. A value is never split over two requests.
pub fn requests(points: &[Point], limits: &RequestLimits) -> Vec<Request> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&index| (points[index].table, points[index].address));
    let mut out: Vec<Request> = Vec::new();
    for index in order {
        let point = &points[index];
        let begin = u32::from(point.address);
        let end = begin + u32::from(point.value_type.quantity());
        if let Some(last) = out.last_mut() {
            let last_begin = u32::from(last.address);
            let last_end = last_begin + u32::from(last.quantity);
            let merged = last_end.max(end) - last_begin;
            let near = begin <= last_end + u32::from(limits.gap_max);
            if last.table == point.table && near && merged <= u32::from(limits.quantity_max(point.table)) {
                last.quantity = u16::try_from(merged).unwrap_or(u16::MAX);
                last.points.push((index, usize::from(point.address - last.address)));
                continue;
            }
        }
        out.push(Request { table: point.table, address: point.address, quantity: point.value_type.quantity(), points: vec![(index, 0)] });
    }
    out
}

impl Request {
    /// The same points in two requests, neither of which reads what lies between them.
    pub(crate) fn halves(&self, points: &[Point]) -> [Request; 2] {
        let (low, high) = self.points.split_at(self.points.len() / 2);
        [low, high].map(|part| {
            let begin = part.iter().map(|(_, start)| *start).min().unwrap_or(0);
            let ends = part.iter().map(|(index, start)| start + usize::from(points[*index].value_type.quantity()));
            let length = ends.max().unwrap_or(begin) - begin;
            Request {
                table: self.table,
                address: self.address + begin as u16,
                quantity: length as u16,
                points: part.iter().map(|(index, start)| (*index, start - begin)).collect(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::ValueType;

    fn point(table: Table, address: u16, value_type: ValueType) -> Point {
        Point::new(&format!("{}{address}", table.name()), table, address, value_type)
    }

    #[test]
    fn points_that_touch_share_a_request_and_others_do_not() {
        let points = [
            point(Table::Holding, 12, ValueType::U16),
            point(Table::Holding, 10, ValueType::F32),
            point(Table::Holding, 14, ValueType::U16),
            point(Table::Input, 10, ValueType::U16),
            point(Table::Holding, 10, ValueType::U16),
        ];
        let three = [
            Request { table: Table::Input, address: 10, quantity: 1, points: vec![(3, 0)] },
            Request { table: Table::Holding, address: 10, quantity: 3, points: vec![(1, 0), (4, 0), (0, 2)] },
            Request { table: Table::Holding, address: 14, quantity: 1, points: vec![(2, 0)] },
        ];
        assert_eq!(requests(&points, &RequestLimits::default()), three);
        let over_the_gap = requests(&points, &RequestLimits { gap_max: 1, ..RequestLimits::default() });
        assert_eq!(over_the_gap[1], Request { quantity: 5, points: vec![(1, 0), (4, 0), (0, 2), (2, 4)], ..three[1].clone() });
    }

    #[test]
    fn a_request_never_asks_for_more_than_the_device_allows_nor_splits_a_value() {
        let points: Vec<Point> = (0..64).map(|i| point(Table::Holding, i * 2, ValueType::U32)).collect();
        let quantities = |limits| requests(&points, &limits).iter().map(|request| request.quantity).collect::<Vec<_>>();
        assert_eq!(quantities(RequestLimits::default()), [124, 4]);
        assert_eq!(quantities(RequestLimits { registers_max: 41, ..RequestLimits::default() }), [40, 40, 40, 8]);
        let last = [point(Table::Holding, 65534, ValueType::U32)];
        assert_eq!(requests(&last, &RequestLimits::default())[0].quantity, 2);
    }

    #[test]
    fn halves_hold_the_same_points_and_leave_out_what_lies_between() {
        let points: Vec<Point> = [(10, ValueType::F32), (12, ValueType::U16), (20, ValueType::F64)]
            .map(|(address, value_type)| point(Table::Holding, address, value_type))
            .into();
        let whole = requests(&points, &RequestLimits { gap_max: 9, ..RequestLimits::default() });
        assert_eq!(whole, [Request { table: Table::Holding, address: 10, quantity: 14, points: vec![(0, 0), (1, 2), (2, 10)] }]);
        let [low, high] = whole[0].halves(&points);
        assert_eq!(low, Request { quantity: 2, points: vec![(0, 0)], ..whole[0].clone() });
        assert_eq!(high, Request { table: Table::Holding, address: 12, quantity: 12, points: vec![(1, 0), (2, 8)] });
        assert_eq!(high.halves(&points)[1], Request { table: Table::Holding, address: 20, quantity: 4, points: vec![(2, 0)] });
    }
}
