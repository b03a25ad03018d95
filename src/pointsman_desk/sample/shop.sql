-- The sample shop: twelve orders of Haus & Hof. Amounts are text, so that a cent stays a cent; dates are ISO 8601.

CREATE TABLE orders (
    number TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    customer TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('placed', 'packed', 'shipped', 'delivered', 'cancelled')),
    shipping TEXT NOT NULL,
    currency TEXT NOT NULL,
    placed_on TEXT NOT NULL,
    due_on TEXT,
    shipped_on TEXT,
    delivered_on TEXT,
    carrier TEXT,
    tracking TEXT
);

-- The desk asks for a customer's latest order.
CREATE INDEX orders_by_email ON orders (lower(email), placed_on);

CREATE TABLE items (
    order_number TEXT NOT NULL REFERENCES orders (number),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price TEXT NOT NULL,
    PRIMARY KEY (order_number, position)
);

INSERT INTO orders VALUES
('A-1001', 'maria.keller@mail.example', 'Maria Keller', 'shipped', '6.90', 'EUR', '2026-11-09', '2026-11-16', '2026-11-12', NULL, 'Nordpost', 'NP4471001'),
('A-1002', 'john.smith@post.example', 'John Smith', 'shipped', '4.90', 'EUR', '2026-11-14', '2026-11-24', '2026-11-17', NULL, 'Nordpost', 'NP4471002'),
('A-1003', 'hans.meier@post.example', 'Hans Meier', 'packed', '12.90', 'EUR', '2026-11-15', '2026-11-25', NULL, NULL, NULL, NULL),
('A-1004', 'claire.dubois@courriel.example', 'Claire Dubois', 'shipped', '6.90', 'EUR', '2026-11-11', '2026-11-20', '2026-11-16', NULL, 'Nordpost', 'NP4471004'),
('A-1005', 'lucia.garcia@correo.example', 'Lucia Garcia', 'delivered', '6.90', 'EUR', '2026-11-02', '2026-11-10', '2026-11-05', '2026-11-09', 'Nordpost', 'NP4471005'),
('A-1006', 'peter.jones@post.example', 'Peter Jones', 'delivered', '19.90', 'EUR', '2026-10-20', '2026-10-30', '2026-10-24', '2026-10-29', 'Nordpost', 'NP4471006'),
('A-1007', 'anna.schmidt@mail.example', 'Anna Schmidt', 'delivered', '4.90', 'EUR', '2026-11-06', '2026-11-13', '2026-11-09', '2026-11-12', 'Nordpost', 'NP4471007'),
('A-1008', 'omar.haddad@post.example', 'Omar Haddad', 'placed', '9.90', 'EUR', '2026-11-18', '2026-11-27', NULL, NULL, NULL, NULL),
('A-1009', 'sofia.rossi@posta.example', 'Sofia Rossi', 'shipped', '4.90', 'EUR', '2026-11-13', '2026-11-21', '2026-11-17', NULL, 'Nordpost', 'NP4471009'),
('A-1010', 'li.wei@mail.example', 'Li Wei', 'cancelled', '4.90', 'EUR', '2026-11-03', NULL, NULL, NULL, NULL, NULL),
('A-1011', 'emma.brown@post.example', 'Emma Brown', 'delivered', '8.90', 'EUR', '2026-10-01', '2026-10-09', '2026-10-04', '2026-10-08', 'Nordpost', 'NP4471011'),
('A-1012', 'jonas.weber@mail.example', 'Jonas Weber', 'shipped', '24.90', 'EUR', '2026-11-08', '2026-11-15', '2026-11-11', NULL, 'Nordpost', 'NP4471012');

INSERT INTO items VALUES
('A-1001', 1, 'Linen curtains', 1, '49.90'),
('A-1002', 1, 'Desk lamp', 1, '34.50'),
('A-1002', 2, 'Bulb', 2, '4.25'),
('A-1003', 1, 'Wollteppich', 1, '189.00'),
('A-1004', 1, 'Coussin', 4, '17.90'),
('A-1005', 1, 'Manta de lana', 1, '59.00'),
('A-1006', 1, 'Oak shelf', 1, '129.00'),
('A-1007', 1, 'Vase', 2, '22.00'),
('A-1008', 1, 'Floor lamp', 1, '119.00'),
('A-1009', 1, 'Table runner', 2, '14.50'),
('A-1010', 1, 'Paper lantern', 3, '9.90'),
('A-1011', 1, 'Dinner plates', 6, '11.00'),
('A-1012', 1, 'Kinderbett', 1, '239.00');
