\set client random_zipfian(1, 400, 1.05)
SELECT id, title, status, created_at FROM howdah_sample.documents WHERE client_id = :client ORDER BY created_at DESC LIMIT 20;
