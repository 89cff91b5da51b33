-- A cursor may also go back through what was before the seller connected.

comment on table sync_cursors is 'How far each data set of a seller is synced. Moves in the transaction that stores the page.';
comment on column sync_cursors.data_set is 'Which: orders goes on from when the seller connected, order_history goes back from there; others as their kinds say.';
comment on column sync_cursors.synced_until is 'How far it has come: everything changed before it is stored; for order_history, everything changed from it on.';
comment on column sync_cursors.window_until is 'The other end of the window whose pages are being fetched; null between windows.';
