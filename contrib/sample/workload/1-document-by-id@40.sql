\set id 200001 - random_zipfian(1, 200000, 1.1)
SELECT id, client_id, title, kind, status, pages FROM howdah_sample.documents WHERE id = :id;
