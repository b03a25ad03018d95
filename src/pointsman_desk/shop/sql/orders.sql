-- name: order_by_number
-- The order with this number, whoever placed it; the caller compares the address.
SELECT number, email, customer, status, shipping, currency, placed_on, due_on, shipped_on, delivered_on, carrier, tracking
FROM orders
WHERE number = :number;

-- name: latest_order
-- The order that was placed last from this address; of two on one day, the one with the higher number.
SELECT number, email, customer, status, shipping, currency, placed_on, due_on, shipped_on, delivered_on, carrier, tracking
FROM orders
WHERE lower(email) = lower(:sender)
ORDER BY placed_on DESC, number DESC
LIMIT 1;

-- name: items_of_order
-- The lines of an order as they stand on its confirmation.
SELECT name, quantity, price
FROM items
WHERE order_number = :number
ORDER BY position;
