-- From which network addresses gateways connected: one row until they came from another. It is not in the evidence log, as refusals
-- are not, and is kept for good.
CREATE TABLE gateway_stay (
    enterprise TEXT NOT NULL, gateway TEXT NOT NULL, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (enterprise, gateway, first_us)) WITHOUT ROWID;
CREATE INDEX gateway_stay_last ON gateway_stay (enterprise, last_us);
CREATE INDEX gateway_stay_address ON gateway_stay (address, enterprise, last_us, first_us);
