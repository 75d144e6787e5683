\set id 200001 - random(1, 200000)
UPDATE howdah_sample.documents SET views = views + 1, updated_at = now() WHERE id = :id;
