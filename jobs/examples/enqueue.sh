# export AMZIGO_API=http://127.0.0.1:8481 AMZIGO_API_KEY=… SELLER=…
curl --silent --show-error --fail-with-body "$AMZIGO_API/v1/jobs" \
    --header "Authorization: Bearer $AMZIGO_API_KEY" \
    --header "Idempotency-Key: first-sync/$SELLER" \
    --header "Content-Type: application/json" \
    --data '{"kind": "sync_orders", "payload": {"seller": "'"$SELLER"'"}}'
